"""Turn photos into alignment shards: a folder tree, a list, a table, or tars that others wrote.

python data_tools/build_alignment_shards.py images=INPUT out=OUT [key=value ...]

A stopped build goes on when it is started again. On several machines or in several processes:
python data_tools/build_alignment_shards.py --multirun images=INPUT out=OUT parts=8 \
    'part=range(0,8)' hydra/launcher=submitit_slurm
python data_tools/merge_shards.py out=OUT
"""

from pathlib import Path

from omegaconf import DictConfig

from rba.batch import Mode
from rba.data.build import BuildJob, build_shards, require_limits
from rba.data.photo_lists import list_photos
from rba.data.photos import PhotoLimits, PhotoLoader
from rba.errors import InputError
from rba.settings import tool_main

_STORED = (
    "longest_side",
    "shortest_side",
    "max_megapixels",
    "min_sharpness",
    "min_contrast",
    "near_distance",
    "quality",
)


def main(config: DictConfig) -> None:
    """Read, judge, bound, encode and write every photo in a shuffled order.

    Raises:
        InputError: If the input is missing or empty, or the output holds another set.
    """
    require_limits(config, shortest_side=1, max_megapixels=0, min_sharpness=0, min_contrast=0)
    job = BuildJob.read(Mode.ALIGNMENT, "build_alignment_shards", config, _STORED)
    if Path(config.images).expanduser().resolve() == Path(config.out).expanduser().resolve():
        raise InputError(f"out={config.out} is images as well; give another folder")
    photos = list_photos(config.images, config.column)
    limits = PhotoLimits(
        longest_side=config.longest_side,
        shortest_side=config.shortest_side,
        quality=config.quality,
        most_pixels=round(config.max_megapixels * 1e6),
        min_sharpness=config.min_sharpness,
        min_contrast=config.min_contrast,
    )
    loader = PhotoLoader(photos.root, limits)
    build_shards(photos, loader, config.out, job, photos.dropped)


if __name__ == "__main__":
    tool_main("build_alignment_shards", main)
