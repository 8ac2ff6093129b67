"""Measure the masks of a folder, on any number of processes."""

import dataclasses
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from rba.errors import InputError
from rba.masks.statistics import MaskStatistics, mask_statistics
from rba.pictures import IMAGE_SUFFIXES, read_mask

_LABELS = "labels"  # PAL keeps its masks in a folder of this name, its pictures in images/ beside
# What the tools for masks write beside statistics.json: pictures, but no masks.
_REPORTS = ("report.png", "comparison.png")
_CHUNK = 16
_PREVIEW_SIDE = 160  # pixels, of the masks on a sheet

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One given or synthesized mask: what it measures, or why it was left out.

    Attributes:
        name: Path below the folder of masks.
        statistics: None where it was left out.
        size: Height and width in pixels; (0, 0) where it could not be read.
        fault: Why it was left out: ``unreadable``, ``empty``, ``covers the whole image``.
        message: Details of the fault.
        preview: Small HxW uint8 picture of the mask, 0 to 255.
        picture: Name of the picture that a synthesized mask was placed on.
        skipped: Pictures that could not be used for it, with the reason.
    """

    name: str
    statistics: MaskStatistics | None
    size: tuple[int, int] = (0, 0)
    fault: str = ""
    message: str = ""
    preview: np.ndarray | None = None
    picture: str = ""
    skipped: tuple[str, ...] = ()


def list_labels(folder: str | Path) -> list[Path]:
    """List label images in a folder tree, sorted by path.

    Where the tree has folders named ``labels`` (PAL's layout: ``labels/train``, ``labels/val``,
    ``labels/test`` beside ``images``), only what lies in those. Linked folders are followed once;
    reports of `synthesize_masks.py` and `measure_masks.py` are left out.

    Raises:
        InputError: If the folder does not exist or holds no image.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise InputError(f"masks={folder} is not a folder; give a folder of label images")
    files = sorted(path for path in _walk(root) if path.suffix.lower() in IMAGE_SUFFIXES)
    labels = [path for path in files if _LABELS in path.relative_to(root).parent.parts]
    if not files:
        raise InputError(
            f"masks={folder} holds no image; expected files ending in "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return labels or files


def _walk(root: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for folder, below, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            below.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below.sort()
        reports = _REPORTS if "statistics.json" in names else ()
        yield from (
            Path(folder, name) for name in names if not name.startswith(".") and name not in reports
        )


def measure_file(task: tuple[Path, str]) -> Measured:
    """Read and measure one mask; a fault of the file is returned, not raised.

    Args:
        task: The file, and its name in reports.
    """
    path, name = task
    try:
        mask = read_mask(path)
    except InputError as error:
        return Measured(name, None, fault="unreadable", message=str(error))
    size = (mask.shape[0], mask.shape[1])
    if not mask.any():
        return Measured(name, None, size, fault="empty")
    if mask.all():
        return Measured(name, None, size, fault="covers the whole image")
    return Measured(name, mask_statistics(mask), size, preview=preview(mask))


def measure_folder(folder: str | Path, workers: int = 1) -> Iterator[Measured]:
    """Measure all masks of a folder tree, in the order of their paths.

    Args:
        folder: See `list_labels`.
        workers: Processes; the results do not depend on it.

    Raises:
        InputError: As `list_labels`, at once.
    """
    root = Path(folder).expanduser()
    tasks = [(path, path.relative_to(root).as_posix()) for path in list_labels(folder)]
    return in_parallel(measure_file, tasks, workers)


def commonest_size(measured: Iterable[Measured]) -> tuple[int, int]:
    """Return the height and width that most masks have."""
    return Counter(m.size for m in measured if m.statistics is not None).most_common(1)[0][0]


def preview(mask: np.ndarray) -> np.ndarray:
    """Shrink an HxW bool mask to a small uint8 picture that keeps thin lines visible."""
    pixels = mask.astype(np.uint8) * 255
    scale = _PREVIEW_SIDE / max(mask.shape)
    if scale >= 1:
        return pixels
    size = (max(round(mask.shape[1] * scale), 1), max(round(mask.shape[0] * scale), 1))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.where(small > 0, np.maximum(small, 90), 0).astype(np.uint8)


def in_parallel(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Map over items in order, on up to ``workers`` processes; 0 = one a core.

    Raises:
        InputError: If ``workers`` is negative.
    """
    if workers < 0:
        raise InputError(f"workers={workers}: give 0 (all cores) or more")
    workers = min(workers or len(os.sched_getaffinity(0)), -(-len(items) // (4 * _CHUNK)))
    if workers <= 1:
        return map(task, items)
    return _in_processes(task, items, workers)


def _in_processes(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    # spawn: forking a process in which OpenCV or torch has threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(task, items, chunksize=_CHUNK)
