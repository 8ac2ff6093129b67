"""The study's pictures, under names that say nothing."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rba.case import Case
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.evaluation.folder_method import SUFFIXES
from rba.geometry import mask_box
from rba.pictures import read_image, write_png

_TILES = 8  # a picture of an attention check is cut into this many along each side


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseShown:
    """A case's pictures as the page has them.

    Attributes:
        task: The case's task.
        generator: The case's generator.
        reference: Name of the first reference's file.
        methods: Name of the file of each method's picture.
        mixed: Names of pictures with mixed tiles, one less than are shown at once.
        box: Left, top, width, height around the artifact mask, shares of the picture's sides.
        digests: Digest of each method's pixels.
    """

    task: str
    generator: str
    reference: str
    methods: Mapping[str, str]
    mixed: tuple[str, ...]
    box: tuple[float, float, float, float]
    digests: Mapping[str, bytes]


def store_case(
    case: Case, results: Mapping[str, Path], folder: Path, *, seed: int, num_mixed: int
) -> CaseShown:
    """Write a case's pictures into the page's folder.

    Args:
        case: The case.
        results: For each method the folder that may hold ``CASE_ID.png`` (or ``.jpg``).
        folder: Where pictures go.
        seed: Keys names and mixing.
        num_mixed: Pictures with mixed tiles to make, of the first method that has one.

    Raises:
        InputError: If a result cannot be read, is there twice, or is not of the image's size.
    """
    methods: dict[str, str] = {}
    digests: dict[str, bytes] = {}
    mixed: tuple[str, ...] = ()
    for method, place in results.items():
        path = _result(place, case.id)
        if path is None:
            continue
        pixels = read_image(path)
        if pixels.shape != case.image.shape:
            raise InputError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, the case's image "
                f"{case.image.shape[1]}x{case.image.shape[0]}; give pictures of the image's size"
            )
        digests[method] = hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()
        methods[method] = _store(pixels, folder, f"{seed}/{case.id}/{method}")
        if not mixed:
            mixed = tuple(
                _store(mix_tiles(pixels, seed, f"{case.id}/{n}"), folder, f"{seed}/{case.id}/{n}/")
                for n in range(num_mixed)
            )
    return CaseShown(
        task=case.task,
        generator=case.generator,
        reference=_store(case.references[0], folder, f"{seed}/{case.id}"),
        methods=methods,
        mixed=mixed,
        box=_shares(case.artifact_mask),
        digests=digests,
    )


def mix_tiles(image: np.ndarray, seed: int, name: str) -> np.ndarray:
    """Return a picture whose tiles have changed places, so that nobody takes it for a whole one.

    Args:
        image: HxWx3 uint8.
        seed: Keys the order, with ``name``.
        name: Of the picture.
    """
    height, width = (max(1, side // _TILES) for side in image.shape[:2])
    corners = [
        (top, left)
        for top in range(0, image.shape[0] - height + 1, height)
        for left in range(0, image.shape[1] - width + 1, width)
    ]
    mixed = image.copy()
    order = keyed_generator(seed, "study-tiles", name, 0).permutation(len(corners))
    for (top, left), index in zip(corners, order, strict=True):
        y, x = corners[int(index)]
        mixed[top : top + height, left : left + width] = image[y : y + height, x : x + width]
    return mixed


def _result(folder: Path, name: str) -> Path | None:
    found = [folder / (name + end) for end in SUFFIXES if (folder / (name + end)).is_file()]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1].name} are of one case; delete one")
    return found[0] if found else None


def _store(pixels: np.ndarray, folder: Path, name: str) -> str:
    """Write a picture anew, without anything that came with it, and return its file's name."""
    digest = hashlib.blake2b(name.encode() + pixels.tobytes(), digest_size=8)
    file = f"{digest.hexdigest()}.png"
    write_png(folder / file, pixels)
    return file


def _shares(mask: np.ndarray) -> tuple[float, float, float, float]:
    box = mask_box(mask)
    height, width = mask.shape
    left, top = round(box.x0 / width, 4), round(box.y0 / height, 4)
    return left, top, round(box.width / width, 4), round(box.height / height, 4)
