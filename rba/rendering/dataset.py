"""Render many objects, and cut photos, into folders: what `data_tools/render_objects.py` runs."""

import dataclasses
import multiprocessing
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.rendering.files import write_object
from rba.rendering.glyphs import glyphs_of
from rba.rendering.pair import PairSettings, render_pair
from rba.rendering.printing import print_design
from rba.rendering.textures import crop_photo, load_textures

_SMALLEST_SIZE = 16
_JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderJob:
    """What to render; each object is a pure function of this and its number.

    Attributes:
        textures: Folder of pictures, None = those inside the scikit-image wheel.
        split: ``all``, ``train`` or ``heldout`` pictures, letters and logos.
        seed: Seed of everything random; splits never share draws.
        size: Side of views and photos in pixels, at least 16.
        settings: Ranges that pairs are drawn from; its style goes for printed photos as well.
        photo_print_share: Share of the photos that get prints as objects have, in [0, 1].

    Raises:
        InputError: If a number is out of its range, or the split is unknown.
    """

    textures: str | None = None
    split: str = "all"
    seed: int = 0
    size: int = 512
    settings: PairSettings = dataclasses.field(default_factory=PairSettings)
    photo_print_share: float = 0.0

    def __post_init__(self) -> None:
        if self.size < _SMALLEST_SIZE:
            raise InputError(f"size={self.size} is too small; give at least {_SMALLEST_SIZE}")
        if not 0 <= self.photo_print_share <= 1:
            raise InputError(f"photo_print_share={self.photo_print_share}: give 0 to 1")
        glyphs_of(self.split)


def prepare_folder(folder: str | Path, *, overwrite: bool) -> Path:
    """Make an output folder; with ``overwrite`` clear what an earlier run of ours left in it.

    Only folders that hold an ``object.json``, unfinished ones, and ``photo-*.jpg`` are removed.

    Raises:
        InputError: If it is a file, or not empty and ``overwrite`` is false.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    if not overwrite and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give another folder, or overwrite=true")
    for path in sorted(folder.iterdir()):
        unfinished = path.name.startswith(".object-") and path.name.endswith(".part")
        if path.is_dir() and (unfinished or (path / "object.json").is_file()):
            shutil.rmtree(path)
        elif path.name.startswith("photo-") and path.suffix == ".jpg":
            path.unlink()
    return folder


def render_objects(job: RenderJob, out: Path, count: int, workers: int) -> Iterator[str]:
    """Check a job at once, then render ``count`` objects into ``out`` as the iterator advances.

    Args:
        job: What to render.
        out: An existing folder (see `prepare_folder`).
        count: Number of objects.
        workers: Processes; the files do not depend on it.

    Returns:
        The name of each object when it is whole.

    Raises:
        InputError: If ``count`` or ``workers`` is out of range, or the textures cannot be read.
    """
    if count < 0 or workers < 1:
        raise InputError(f"count={count} workers={workers}: give count >= 0 and workers >= 1")
    textures = load_textures(job.textures, job.split)
    if min(workers, count) <= 1:
        return (_render_object(job, textures, out, index) for index in range(count))
    return _render_in_parallel(job, textures, out, range(count), workers)


def _render_in_parallel(
    job: RenderJob, textures: Mapping[str, np.ndarray], out: Path, indices: range, workers: int
) -> Iterator[str]:
    # spawn: forking a process in which OpenCV or torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (job, textures, out)) as pool:
        yield from pool.map(_render_in_worker, indices, chunksize=4)


def cut_photos(job: RenderJob, out: Path, count: int) -> Iterator[str]:
    """Check a job at once, then write ``count`` random large crops of the pictures as JPEG.

    Returns:
        The name of each photo when it is written.

    Raises:
        InputError: If ``count`` is negative, or the textures cannot be read.
    """
    if count < 0:
        raise InputError(f"num_photos={count}: give 0 or more")
    textures = load_textures(job.textures, job.split)
    return (_cut_photo(job, textures, out, index) for index in range(count))


def _cut_photo(job: RenderJob, textures: Mapping[str, np.ndarray], out: Path, index: int) -> str:
    rng = keyed_generator(job.seed, "photo", job.split, index)
    picture = textures[sorted(textures)[index % len(textures)]]
    photo = crop_photo(picture, rng, job.size)
    if rng.random() < job.photo_print_share:
        style = job.settings.style
        twins_rng = keyed_generator(job.seed, "photo look-alikes", job.split, index)
        photo = print_design(
            picture,
            rng,
            job.size,
            job.size,
            style,
            glyphs_of(job.split),
            look_alikes=bool(twins_rng.random() < style.look_alike_share),
        )
    name = f"photo-{index:06d}.jpg"
    aside = out / f".{name}.part"
    Image.fromarray(photo).save(aside, format="JPEG", quality=_JPEG_QUALITY)
    aside.rename(out / name)
    return name


def _render_object(
    job: RenderJob, textures: Mapping[str, np.ndarray], out: Path, index: int
) -> str:
    rng = keyed_generator(job.seed, "object", job.split, index)
    pair = render_pair(textures, rng, job.size, job.settings, glyphs_of(job.split))
    name = f"object-{index:06d}"
    facts = {"seed": job.seed, "split": job.split, "index": index, "size": job.size}
    write_object(out / name, pair, facts)
    return name


_worker_task: tuple[RenderJob, Mapping[str, np.ndarray], Path] | None = None


def _start_worker(job: RenderJob, textures: Mapping[str, np.ndarray], out: Path) -> None:
    global _worker_task  # the pool's initializer has no other place
    cv2.setNumThreads(1)
    _worker_task = (job, textures, out)


def _render_in_worker(index: int) -> str:
    assert _worker_task is not None
    return _render_object(*_worker_task, index)
