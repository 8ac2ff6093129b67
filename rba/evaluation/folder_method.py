"""Another tool's outputs as a row of the table: a folder of ``CASE_ID.png`` or ``.jpg``."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.case_set import CaseFacts
from rba.evaluation.methods import MethodResult, untouched
from rba.pictures import read_image

SUFFIXES = (".png", ".jpg", ".jpeg")
MISSING = "no picture of this case in the folder of results"


class FolderMethod:
    """Pictures that any other method made of the cases, taken as they are.

    Args:
        name: The row's name.
        folder: Holds ``CASE_ID.png`` (or ``.jpg``); a case without one keeps its defect and counts
            as a fallback. Other files are not looked at.
        cases: All that will be asked for.

    Raises:
        InputError: If it is no folder, holds no case's picture, holds two of one case, or one that
            is broken or of another size than the case's image.
    """

    def __init__(self, name: str, folder: str | Path, cases: Sequence[CaseFacts]) -> None:
        self.name = name
        self._option = f"--results {name}={folder}"
        root = Path(folder)
        if not root.is_dir():
            raise InputError(f"{self._option}: no such folder; give one with CASE_ID.png files")
        self.description = f"Pictures of another tool, as the folder {root.name} has them."
        found = {case.id: self._find(root, case.id) for case in cases}
        self._paths = {name: path for name, path in found.items() if path is not None}
        if not self._paths:
            raise InputError(
                f"{self._option}: no picture of any case in it; name them after the cases' ids, "
                f"such as {cases[0].id}.png"
            )
        for case in cases:
            self._check(case)

    def settings(self) -> Mapping[str, object]:
        """Return how many pictures there are, and their digest."""
        digest = hashlib.sha256()
        for name, path in sorted(self._paths.items()):
            digest.update(f"{name}\0".encode() + path.read_bytes())
        return {"pictures": len(self._paths), "digest": digest.hexdigest()}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Yield the picture of each case."""
        del numbers
        for case in cases:
            path = self._paths.get(case.id)
            if path is None:
                yield untouched(case, MISSING)
            else:
                yield MethodResult(image=read_image(path))

    def _find(self, root: Path, name: str) -> Path | None:
        paths = [root / (name + suffix) for suffix in SUFFIXES]
        there = [path for path in paths if path.is_file()]
        if len(there) > 1:
            raise InputError(
                f"{self._option}: both {there[0].name} and {there[1].name} are there; keep one"
            )
        return there[0] if there else None

    def _check(self, case: CaseFacts) -> None:
        path = self._paths.get(case.id)
        if path is None:
            return
        try:
            with Image.open(path) as picture:
                width, height = _upright_size(picture)
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"{self._option}: {path} is no picture: {error}") from error
        if (height, width) != case.size:
            raise InputError(
                f"{self._option}: {path} is {width}x{height} pixels, the case's image "
                f"{case.size[1]}x{case.size[0]}; give pictures of the image's size"
            )


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height as they are after the rotation that EXIF asks for."""
    turned = picture.getexif().get(0x0112, 1) >= 5  # Orientation
    width, height = picture.size
    return (height, width) if turned else (width, height)
