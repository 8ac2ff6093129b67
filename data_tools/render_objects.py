"""Render pairs of views of textured objects: data_tools/render_objects.py out=DIR count=N."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from rba.errors import InputError
from rba.rendering.dataset import RenderJob, cut_photos, prepare_folder, render_objects
from rba.rendering.pair import PairSettings
from rba.rendering.style import PrintStyle
from rba.settings import plain, tool_main

_PAIR_KEYS = (
    "shapes",
    "rotation_degrees",
    "roll_degrees",
    "fill",
    "light",
    "supersampling",
    "smallest_overlap",
)
_STYLE_KEYS = ("density", "empty_share", "mosaic_share", "look_alike_share")


def read_job(config: DictConfig) -> RenderJob:
    """Turn the configuration into a job.

    Raises:
        InputError: If a value is of a wrong kind or out of its range.
    """
    values: dict[str, Any] = plain(config)
    frozen: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        style = PrintStyle(**{key: frozen[key] for key in _STYLE_KEYS})
        settings = PairSettings(**{key: frozen[key] for key in _PAIR_KEYS}, style=style)
        return RenderJob(
            textures=config.textures,
            split=config.split,
            seed=int(config.seed),
            size=int(config.size),
            settings=settings,
            photo_print_share=float(config.photo_print_share),
        )
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a setting of a wrong kind in {values}: {error}") from error


def main(config: DictConfig) -> None:
    """Render objects, then cut photos where ``photos_out`` is set."""
    job = read_job(config)
    if config.photos_out is None and config.num_photos:
        raise InputError(f"num_photos={config.num_photos} needs photos_out=DIR")
    out = Path(config.out).expanduser()
    photos = None if config.photos_out is None else Path(config.photos_out).expanduser()
    if photos is not None and photos.resolve() == out.resolve():
        raise InputError(f"photos_out={photos} is out as well; give two folders")
    # Both are checked and emptied before the first of perhaps many hours of objects is rendered.
    objects = render_objects(job, out, config.count, config.workers)
    names = iter(()) if photos is None else cut_photos(job, photos, config.num_photos)
    for folder in (out, photos):
        if folder is not None:
            prepare_folder(folder, overwrite=config.overwrite)
    for _ in tqdm(objects, total=config.count, desc="objects", unit="object"):
        pass
    if photos is not None:
        for _ in tqdm(names, total=config.num_photos, desc="photos", unit="photo"):
            pass
    print(f"{config.count} objects in {out}")


if __name__ == "__main__":
    tool_main("render_objects", main)
