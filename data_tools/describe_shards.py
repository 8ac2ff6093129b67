"""Say what shards hold: sizes, object and artifact areas, matches, as JSON and as plots.

python data_tools/describe_shards.py shards=DIR out=DIR [key=value ...]
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from rba.data.description_figure import draw_description
from rba.data.record_choice import choose_records
from rba.data.shard_description import ShardDescription
from rba.data.shards import ShardSet
from rba.errors import InputError
from rba.masks.profile import load_profile
from rba.settings import tool_main

_JSON, _PNG = "description.json", "description.png"


def main(config: DictConfig) -> None:
    """Measure records and write what was found.

    Raises:
        InputError: If the shards cannot be opened, a setting is out of its range, ``out`` holds a
            description already, or no record can be read.
    """
    if config.count < 0:
        raise InputError(f"count={config.count}; give the number of records, 0 for all")
    shards, profile = ShardSet.open(config.shards), load_profile(config.profile)
    out = Path(config.out).expanduser()
    if (out / _JSON).exists() and not config.overwrite:
        raise InputError(f"{out / _JSON} exists; give another out=, or overwrite=true")
    out.mkdir(parents=True, exist_ok=True)
    description = ShardDescription()
    places = choose_records(shards, config.count, "describe", config.seed)
    for place in tqdm(places, unit="record", disable=None):
        description.add(shards, place, profile, config.seed)
    if not description.measured:
        raise InputError(
            f"none of {description.unreadable} records of {config.shards} can be read; first "
            f"{description.examples[0]}; data_tools/check_shards.py names all faults"
        )
    facts: dict[str, Any] = {
        "shards": len(shards.entries),
        "records": len(shards),
        "kind": shards.kind.value,
        "bytes": sum(entry.bytes for entry in shards.entries),
        "mask_profile": profile.name,
        **description.summary(),
    }
    (out / _JSON).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", "utf-8")
    title = f"{shards.name}: {description.measured:,} of {len(shards):,} {facts['kind']} records"
    draw_description(out / _PNG, title, description.values)
    print(f"{title}, {len(shards.entries):,} shards, {facts['bytes'] / 1e6:,.1f} MB")
    print(f"{'':<26}{'count':>8}{'5 %':>10}{'median':>10}{'95 %':>10}")
    for name, row in facts["quantities"].items():
        numbers = "".join(f"{row[q]:>10.4g}" for q in ("q5", "q50", "q95"))
        print(f"{name:<26}{row['count']:>8,}{numbers}")
    if description.unreadable:
        print(f"unreadable: {description.unreadable:,}, first {description.examples[0]}")
    print(f"wrote {out / _JSON} and {out / _PNG}")


if __name__ == "__main__":
    tool_main("describe_shards", main)
