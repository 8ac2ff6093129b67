"""Turn a folder tree of photos into alignment shards.

python data_tools/build_alignment_shards.py images=DIR out=DIR [key=value ...]
"""

import time
from pathlib import Path

from omegaconf import DictConfig

from rba.batch import Mode
from rba.data.build import BuildReport, require_limits, write_records
from rba.data.photos import find_photos, load_photo
from rba.data.sample import AlignmentRecord
from rba.data.writer import ShardWriter
from rba.settings import tool_main

_STORED = ("seed", "longest_side", "shortest_side", "quality", "samples_per_shard")


def main(config: DictConfig) -> None:
    """Read, bound, encode and write every photo in a shuffled order.

    Raises:
        InputError: If the input is missing or empty, or the output already holds shards.
    """
    started = time.perf_counter()
    require_limits(config, shortest_side=1)
    root, out = Path(config.images).expanduser(), Path(config.out).expanduser()
    photos = [(path.relative_to(root).as_posix(), path) for path in find_photos(root)]
    report = BuildReport()

    def load(path: Path, key: str) -> AlignmentRecord:
        longest, shortest = config.longest_side, config.shortest_side
        return load_photo(path, root, key, longest=longest, shortest=shortest)

    writer = ShardWriter(
        out,
        kind=Mode.ALIGNMENT,
        samples_per_shard=config.samples_per_shard,
        settings={"tool": "build_alignment_shards", **{name: config[name] for name in _STORED}},
        overwrite=config.overwrite,
    )
    with writer:
        write_records(photos, load, writer, report, seed=config.seed, quality=config.quality)
    report.finish(out, time.perf_counter() - started)


if __name__ == "__main__":
    tool_main("build_alignment_shards", main)
