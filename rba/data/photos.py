"""A folder tree of photos as the input of alignment shards."""

import os
from pathlib import Path

import numpy as np

from rba.data.build import DroppedError, bound_size, is_picture
from rba.data.sample import AlignmentRecord
from rba.errors import InputError
from rba.pictures import IMAGE_SUFFIXES, read_image_with_alpha, read_mask


def find_photos(root: str | Path) -> list[Path]:
    """Return all pictures below a folder, sorted by path; links to folders are not followed.

    Raises:
        InputError: If the folder is missing or holds no picture.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"images={root} is not a folder; give a folder of photos")
    found = [
        Path(folder) / name
        for folder, _, names in os.walk(root)
        for name in names
        if is_picture(name, IMAGE_SUFFIXES)
    ]
    if not found:
        raise InputError(
            f"images={root} holds no picture; expected files ending in "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return sorted(found)


def read_masked(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture and its object mask from the sidecar ``NAME.mask.png`` or its alpha.

    Raises:
        DroppedError: If one of them cannot be read.
    """
    sidecar = path.with_name(f"{path.stem}.mask.png")
    try:
        image, alpha = read_image_with_alpha(path)
    except InputError as error:
        raise DroppedError("unreadable") from error
    if not sidecar.exists():
        return image, alpha
    try:
        return image, read_mask(sidecar)
    except InputError as error:
        raise DroppedError("unreadable mask") from error


def load_photo(path: Path, root: Path, key: str, *, longest: int, shortest: int) -> AlignmentRecord:
    """Read one photo as a record.

    Args:
        path: The photo.
        root: What its name in the record is relative to.
        key: The record's key.
        longest: Larger photos are shrunk to this longest side, pixels.
        shortest: Photos with a shorter side are dropped, pixels; measured before shrinking.

    Raises:
        DroppedError: With the reason.
    """
    image, mask = read_masked(path)
    if min(image.shape[:2]) < shortest:
        raise DroppedError("too small")
    image, mask = bound_size(image, mask, longest)
    metadata = {"source": path.relative_to(root).as_posix()}
    return AlignmentRecord(key=key, image=image, mask=mask, metadata=metadata)
