"""Read every byte of a set of shards and name all that is wrong with it; status 1 if anything is.

python data_tools/check_shards.py shards=DIR [json=PATH] [key=value ...]
"""

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from rba.data.fault_report import fault_summary, write_fault_report
from rba.data.shard_check import check_shard, crashed_check, shard_tasks
from rba.data.shard_faults import FaultTable
from rba.data.shard_listing import list_shards
from rba.data.shard_map import map_shards
from rba.errors import InputError
from rba.settings import tool_main


def main(config: DictConfig) -> None:
    """Check all shards, print a table, write the JSON.

    Raises:
        InputError: If there is no shard to check, or a setting is out of its range.
        SystemExit: With status 1 if there is any fault.
    """
    started = time.perf_counter()
    if config.repeats not in ("fault", "note"):
        raise InputError(f"repeats={config.repeats}; give fault or note")
    if config.shown < 0:
        raise InputError(f"shown={config.shown}; give 0 or more")
    listing = list_shards(config.shards)
    results = map_shards(check_shard, shard_tasks(listing), config.workers, crashed_check)
    report = None if config.json is None else Path(config.json).expanduser()
    if report is not None:  # a path that cannot be written is better known before hours of reading
        report.parent.mkdir(parents=True, exist_ok=True)
        report.touch()
    faults, notes = FaultTable(), FaultTable()
    faults.add(listing.faults)
    facts: dict[str, Any] = {"shards": config.shards, "tars": 0, "samples": 0, "bytes": 0}
    total = sum(entry.bytes for entry in listing.entries.values() if entry.name in listing.names)
    with tqdm(total=total or None, unit="B", unit_scale=True, disable=None) as bar:
        for result in results:
            faults.add(result.faults)
            faults.add_samples(result.name, result.samples)
            facts["tars"] += 1
            facts["samples"] += len(result.samples)
            facts["bytes"] += result.bytes
            bar.set_postfix(samples=facts["samples"], faults=len(faults), refresh=False)
            bar.update(result.bytes)
    (notes if config.repeats == "note" else faults).add(faults.find_repeats())
    facts["seconds"] = round(time.perf_counter() - started, 2)
    facts["samples_per_second"] = round(facts["samples"] / max(facts["seconds"], 0.01), 1)
    print(fault_summary(facts, faults, notes, config.shown))
    if report is not None:
        write_fault_report(report, facts, faults, notes)
    if len(faults):
        raise SystemExit(1)


if __name__ == "__main__":
    tool_main("check_shards", main)
