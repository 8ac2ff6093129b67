"""Turn a folder tree of photos into alignment shards.

python data_tools/build_alignment_shards.py images=DIR out=DIR [key=value ...]
"""

import time
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from rba.batch import Mode
from rba.data.build import BuildReport, DroppedError, sample_key
from rba.data.photos import find_photos, load_photo
from rba.data.writer import ShardWriter
from rba.draws import keyed_generator
from rba.settings import tool_main

_STORED = ("seed", "longest_side", "shortest_side", "quality", "samples_per_shard")


def main(config: DictConfig) -> None:
    """Read, bound, encode and write every photo in a shuffled order.

    Raises:
        InputError: If the input is missing or empty, or the output already holds shards.
    """
    started = time.perf_counter()
    root, out = Path(config.images).expanduser(), Path(config.out).expanduser()
    photos = find_photos(root)
    order = keyed_generator(config.seed, "build", Mode.ALIGNMENT.value, 0).permutation(len(photos))
    report = BuildReport()
    writer = ShardWriter(
        out,
        kind=Mode.ALIGNMENT,
        samples_per_shard=config.samples_per_shard,
        settings={"tool": "build_alignment_shards", **{name: config[name] for name in _STORED}},
        overwrite=config.overwrite,
    )
    with writer:
        for number in tqdm(order, desc="photos", unit="photo", disable=None):
            path = photos[number]
            try:
                record = load_photo(
                    path,
                    root,
                    sample_key(report.kept, path.stem),
                    longest=config.longest_side,
                    shortest=config.shortest_side,
                )
            except DroppedError as reason:
                report.drop(reason, path.relative_to(root))
                continue
            writer.write(record.key, record.encode(config.quality))
            report.kept += 1
        report.require_kept(root)
    seconds = time.perf_counter() - started
    report.write(out, seconds)
    print(report.table(out, seconds))


if __name__ == "__main__":
    tool_main("build_alignment_shards", main)
