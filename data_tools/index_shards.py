"""Index plain tars that others wrote: index files and a manifest, the tars stay as they are.

python data_tools/index_shards.py shards=DIR [out=DIR] [key=value ...]
"""

from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from rba.batch import Mode
from rba.data.shard_adoption import adopt_tars, ignored_members, prepare_adoption
from rba.data.shard_index import (
    IndexTask,
    TarIndex,
    crashed_index,
    find_tars,
    index_tar,
    require_one_kind,
)
from rba.data.shard_map import map_shards
from rba.errors import InputError
from rba.settings import tool_main


def main(config: DictConfig) -> None:
    """Read all tars, refuse what training could not read, write indices and manifest.

    Raises:
        InputError: If there is no tar, one is refused, or the manifest exists.
    """
    if config.kind not in ("auto", *Mode):
        raise InputError(f"kind={config.kind}; give auto, {' or '.join(Mode)}")
    kind = None if config.kind == "auto" else Mode(config.kind)
    tars = find_tars(config.shards)
    out = tars[0].parent if config.out is None else Path(config.out).expanduser()
    prepare_adoption(tars, out, overwrite=config.overwrite)
    indices, refused = list[TarIndex](), list[TarIndex]()
    tasks = [IndexTask(path=path, kind=kind) for path in tars]
    results = map_shards(index_tar, tasks, config.workers, crashed_index)
    for index in tqdm(results, total=len(tars), unit="tar", disable=None):
        (indices if index.refusal is None else refused).append(index)
    for index in refused:
        print(f"{index.path.name}: {index.refusal}")
    if refused and not (config.skip_refused and indices):
        raise InputError(
            f"{len(refused)} of {len(tars)} tars are refused, nothing is written; first "
            f"{refused[0].path.name}: {refused[0].refusal}"
            + ("" if not indices else "; skip_refused=true leaves them out")
        )
    found = require_one_kind(indices)
    manifest = adopt_tars(indices, out)
    samples, size = sum(len(i.offsets) for i in indices), sum(i.bytes for i in indices)
    print(f"{len(indices):,} tars, {samples:,} {found.value} samples, {size / 1e6:,.1f} MB")
    for name, count in sorted(ignored_members(indices).items()):
        print(f"ignored: member {name!r} of {count:,} samples")
    if refused:
        print(f"left out: {len(refused)} tars, named above")
    print(f"wrote {manifest}; check_shards.py decodes every record")


if __name__ == "__main__":
    tool_main("index_shards", main)
