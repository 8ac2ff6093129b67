"""Rendered pairs on disk, in the layout of real object photos.

``OBJECT/00.png 01.png`` are the views, ``00.mask.png`` their object masks,
``00-01.correspondence.png`` the exact correspondence over view 00 (and ``01-00`` over view 01),
``object.json`` facts. Folders of real photos have only the pictures.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from rba.errors import InputError
from rba.pictures import list_images, read_mask, write_png
from rba.rendering.pair import RenderedPair

MASK_SUFFIX = ".mask.png"
CORRESPONDENCE_SUFFIX = ".correspondence.png"
_FULL = 65535


@dataclasses.dataclass(frozen=True)
class ObjectFolder:
    """What a folder holds of one object.

    Attributes:
        path: The folder.
        views: Picture files, sorted by name.
    """

    path: Path
    views: tuple[Path, ...]

    def object_mask(self, view: Path) -> np.ndarray | None:
        """Read the HxW bool object mask of a view, None where there is none."""
        path = view.with_name(view.stem + MASK_SUFFIX)
        return read_mask(path) if path.is_file() else None

    def correspondence(self, first: Path, second: Path, size: tuple[int, int]) -> np.ndarray | None:
        """Read the exact correspondence over ``first`` into ``second`` of ``size`` (width, height).

        Returns:
            HxWx2 float32 in pixels of ``second``, NaN = no match; None where there is none.
        """
        path = self.path / f"{first.stem}-{second.stem}{CORRESPONDENCE_SUFFIX}"
        return read_correspondence(path, *size) if path.is_file() else None


def open_object_folder(folder: str | Path) -> ObjectFolder:
    """List the views of an object's folder; masks and correspondences are not views.

    Raises:
        InputError: If the folder is missing or holds no picture.
    """
    views = tuple(
        path
        for path in list_images(folder)
        if not path.name.endswith((MASK_SUFFIX, CORRESPONDENCE_SUFFIX))
    )
    return ObjectFolder(Path(folder), views)


def write_object(folder: str | Path, pair: RenderedPair, facts: Mapping[str, object]) -> None:
    """Write a pair aside and rename it, so that a folder under its final name is whole.

    Args:
        folder: Must not exist yet.
        pair: Two views.
        facts: What else ``object.json`` says, JSON-serialisable.
    """
    folder = Path(folder)
    aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for name, other, view in (("00", "01", pair.first), ("01", "00", pair.second)):
        write_png(aside / f"{name}.png", view.image)
        write_png(aside / f"{name}{MASK_SUFFIX}", view.mask)
        map_path = aside / f"{name}-{other}{CORRESPONDENCE_SUFFIX}"
        height, width = view.image.shape[:2]
        write_correspondence(map_path, view.correspondence, width, height)
    content = {
        "shape": pair.shape,
        "textures": list(pair.textures),
        "look_alikes": pair.look_alikes,
        **facts,
    }
    (aside / "object.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    aside.rename(folder)


def write_correspondence(path: str | Path, map_: np.ndarray, width: int, height: int) -> None:
    """Write a correspondence map as a 16-bit PNG: red = u, green = v, blue = valid.

    Args:
        path: File to write.
        map_: HxWx2 float32 positions in the other view in pixels (centres at +0.5), NaN = no match.
        width: Width of the other view; u is stored as a share of it, of 65535.
        height: Height of the other view.
    """
    valid = np.asarray(np.isfinite(map_[..., 0]))
    shares = np.where(valid[..., None], map_, 0.0) / np.array([width, height])
    stored = np.rint(np.clip(shares, 0.0, 1.0) * _FULL).astype(np.uint16)
    blue_first = np.dstack([valid.astype(np.uint16) * _FULL, stored[..., 1], stored[..., 0]])
    done, content = cv2.imencode(".png", blue_first, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    assert done
    Path(path).write_bytes(content.tobytes())


def read_correspondence(path: str | Path, width: int, height: int) -> np.ndarray:
    """Read a map that `write_correspondence` wrote.

    Args:
        path: A 16-bit three-channel PNG.
        width: Width in pixels that the other view has now.
        height: Height in pixels that the other view has now.

    Returns:
        HxWx2 float32 in pixels of the other view, NaN = no match; within 1/131070 of its sides.

    Raises:
        InputError: If the file is missing or not such a PNG.
    """
    try:
        content = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"correspondence {path} cannot be read: {error}") from error
    stored = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3 or stored.shape[2] != 3:
        raise InputError(f"{path} is not a correspondence: expected a 16-bit PNG of three channels")
    size = np.array([width, height], np.float64)
    shares = np.asarray(stored, np.float64)[..., 2:0:-1] / _FULL
    map_ = (shares * size).astype(np.float32)
    map_[np.asarray(stored)[..., 0] < _FULL // 2] = np.nan
    return map_
