"""Photographs that objects are covered with, split by picture into training and held-out ones."""

import dataclasses
import hashlib
import importlib.util
from pathlib import Path

import cv2
import numpy as np

from rba.errors import InputError
from rba.pictures import list_images, read_image

SPLITS = ("all", "train", "heldout")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WheelPhoto:
    """A photograph inside the scikit-image wheel.

    Attributes:
        file: Its name in the folder of ``skimage.data``.
        author: Who took or published it.
        licence: What its documentation states.
    """

    file: str
    author: str
    licence: str


_PUBLIC, _CC0 = "public domain", "CC0"

# The photographs inside the scikit-image wheel whose documentation states the public domain or CC0
# (skimage.data, version 0.26). Others of its pictures state no licence and are never used.
WHEEL_PHOTOS = {
    "astronaut": WheelPhoto(file="astronaut.png", author="NASA", licence=_PUBLIC),
    "brick": WheelPhoto(file="brick.png", author="CC0Textures", licence=_CC0),
    "camera": WheelPhoto(file="camera.png", author="Lav Varshney", licence=_CC0),
    "chelsea": WheelPhoto(file="chelsea.png", author="Stefan van der Walt", licence=_CC0),
    "coffee": WheelPhoto(file="coffee.png", author="Rachel Michetti", licence=_CC0),
    "grass": WheelPhoto(
        file="grass.png", author="DeviantArt (see skimage.data.grass)", licence=_CC0
    ),
    "gravel": WheelPhoto(file="gravel.png", author="CC0Textures", licence=_CC0),
    "hubble_deep_field": WheelPhoto(file="hubble_deep_field.jpg", author="NASA", licence=_PUBLIC),
    "retina": WheelPhoto(file="retina.jpg", author="Häggström", licence=_CC0),
    "rocket": WheelPhoto(file="rocket.jpg", author="SpaceX", licence=_PUBLIC),
}
WHEEL_HELDOUT = frozenset({"brick", "coffee", "rocket"})

# Share of a user's pictures that is held out.
_HELDOUT_SHARE = 0.25
_SMALLEST_SIDE = 64
_LONGEST_SIDE = 2048


def load_textures(folder: str | Path | None, split: str = "all") -> dict[str, np.ndarray]:
    """Load the photographs of a split; a picture of ``heldout`` is never in ``train``.

    Args:
        folder: A folder of pictures, or None for those inside the scikit-image wheel (no download).
        split: ``all``, ``train`` or ``heldout``. A quarter of a folder's pictures, at least one, is
            held out: those whose names have the smallest digests, whatever the order.

    Returns:
        Name to HxWx3 uint8 RGB, sorted by name; longest side at most 2048 pixels.

    Raises:
        InputError: If the split is unknown or empty, or a picture is unreadable or under 64 pixels.
    """
    if split not in SPLITS:
        raise InputError(f"split={split}: give one of {', '.join(SPLITS)}")
    files = _wheel_files() if folder is None else _folder_files(Path(folder).expanduser())
    heldout = WHEEL_HELDOUT if folder is None else _heldout_names(list(files))
    wanted = {
        name: path
        for name, path in sorted(files.items())
        if split == "all" or (name in heldout) == (split == "heldout")
    }
    if not wanted:
        raise InputError(
            f"split={split} of {folder} with {len(files)} picture(s) is empty; give at least two "
            "pictures, or split=all"
        )
    return {name: _read_texture(path) for name, path in wanted.items()}


def crop_photo(photo: np.ndarray, rng: np.random.Generator, size: int) -> np.ndarray:
    """Cut a random large square (60 to 100 % of the short side) and scale it to size x size x 3."""
    height, width = photo.shape[:2]
    side = max(round(min(height, width) * rng.uniform(0.6, 1.0)), 1)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    method = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    return cv2.resize(
        photo[top : top + side, left : left + side], (size, size), interpolation=method
    )


def _wheel_files() -> dict[str, Path]:
    # Found without importing skimage, whose data module would try the network.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("textures=null needs scikit-image installed; or give textures=DIR")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    files = {
        name: folder / photo.file
        for name, photo in WHEEL_PHOTOS.items()
        if (folder / photo.file).is_file()
    }
    if not files.keys() & WHEEL_HELDOUT or not files.keys() - WHEEL_HELDOUT:
        raise InputError(
            f"too few of scikit-image's photographs are in {folder}; give textures=DIR"
        )
    return files


def _folder_files(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in list_images(folder)}


def _heldout_names(names: list[str]) -> frozenset[str]:
    def digest(name: str) -> str:
        return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()

    count = max(round(_HELDOUT_SHARE * len(names)), 1)
    return frozenset(sorted(names, key=digest)[:count] if len(names) > 1 else ())


def _read_texture(path: Path) -> np.ndarray:
    picture = read_image(path)
    height, width = picture.shape[:2]
    if min(height, width) < _SMALLEST_SIDE:
        raise InputError(
            f"{path} has {width}x{height} pixels; a texture needs at least {_SMALLEST_SIDE} a side"
        )
    scale = _LONGEST_SIDE / max(height, width)
    if scale < 1.0:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture)
