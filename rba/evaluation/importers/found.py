"""What an importer finds: the files of one case, or the reason why there is none."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from rba.case import Case
from rba.errors import InputError
from rba.inference.jobs import read_reference
from rba.pictures import IMAGE_SUFFIXES, read_image, read_mask

Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels
SIDE_NAMES = ("mask", "correspondence", "truth", "reference")
"""``NAME_mask.png`` beside ``NAME.png`` is its mask, and so on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """What the user said about the files.

    Attributes:
        source: The generator's output folder, or the CSV file.
        references: Folder of the references; None = beside the images, where that is possible.
        masks: Folder of the artifact masks, called as the images are, or ``NAME_mask``; None =
            ``NAME_mask`` beside the images.
        pairs: IDM-VTON: ``paired`` (each person in their own garment) or ``unpaired``.
        first_panel: AnyDoor: the first of three panels is as wide as the others (``equal``) or
            ``square``.
    """

    source: Path
    references: Path | None = None
    masks: Path | None = None
    pairs: str | None = None
    first_panel: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilePart:
    """A picture file, or a part of it.

    Attributes:
        path: The file.
        box: Top, left, bottom, right in pixels; None = all of it.
    """

    path: Path
    box: Box | None = None

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """Return the part's pixels."""
        if self.box is None:
            return pixels
        top, left, bottom, right = self.box
        return pixels[top:bottom, left:right].copy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """The files of one case.

    Attributes:
        id: Its id.
        image: The generated image.
        mask: The artifact mask.
        references: One or more, each with the file of its object mask, or None.
        correspondence: Mask on the first reference, or None.
        truth: The image without its defect, or None.
        task: See `Case`; empty = not said.
        generator: See `Case`; empty = not said.
        metadata: See `Case`.
    """

    id: str
    image: FilePart
    mask: FilePart
    references: tuple[tuple[FilePart, Path | None], ...]
    correspondence: Path | None = None
    truth: Path | None = None
    task: str = ""
    generator: str = ""
    metadata: Mapping[str, object] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def read(self) -> Case:
        """Read the pictures.

        Raises:
            InputError: If one cannot be read or they do not fit each other.
        """
        pairs = [self._read_reference(part, mask) for part, mask in self.references]
        soft = None if self.correspondence is None else read_mask(self.correspondence)
        return Case(
            id=self.id,
            image=self.image.cut(read_image(self.image.path)),
            artifact_mask=self.mask.cut(read_mask(self.mask.path)),
            references=tuple(reference for reference, _ in pairs),
            reference_masks=tuple(mask for _, mask in pairs),
            truth=None if self.truth is None else read_image(self.truth),
            correspondence_mask=None if soft is None else soft.astype(np.float32),
            task=self.task,
            generator=self.generator,
            metadata=self.metadata,
        )

    def _read_reference(
        self, part: FilePart, mask: Path | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        reference, object_mask = read_reference(part.path, mask)
        return part.cut(reference), None if object_mask is None else part.cut(object_mask)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file that no case was made of.

    Attributes:
        name: The file, from the source folder on.
        reason: Why, and the way out.
    """

    name: str
    reason: str


def generated_images(folder: Path) -> list[Path]:
    """Return the pictures of a folder that are not another picture's mask, truth or reference."""
    pictures = pictures_in(folder)
    stems = {path.stem for path in pictures}
    return [path for path in pictures if not _is_side_file(path.stem, stems)]


def pictures_in(folder: Path) -> list[Path]:
    """Return the picture files of a folder, sorted; none if it is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def side_file(image: Path, kind: str) -> Path | None:
    """Return the file ``NAME_KIND.*`` beside an image ``NAME.*``.

    Raises:
        InputError: If there are several.
    """
    return only(_named(image.parent, f"{image.stem}_{kind}"), image)


def mask_file(image: Path, settings: ImportSettings) -> Path | None:
    """Return the artifact mask of an image, as `ImportSettings.masks` says.

    Raises:
        InputError: If there are several.
    """
    if settings.masks is None:
        return side_file(image, "mask")
    names = (image.stem, f"{image.stem}_mask")
    found = [path for name in names for path in _named(settings.masks, name)]
    return only((path for path in found if path != image), image)


def file_called(folder: Path, stem: str, image: Path) -> Path | None:
    """Return the picture of a folder that is called ``stem``.

    Raises:
        InputError: If there are several.
    """
    return only(_named(folder, stem), image)


def only(candidates: Iterable[Path], image: Path) -> Path | None:
    """Return the only candidate, or None where there is none.

    Raises:
        InputError: If there are several: the user has to say which.
    """
    found = list(candidates)
    if len(found) > 1:
        raise InputError(
            f"{image.name} may belong to {' or '.join(str(path) for path in found)}; keep one, or "
            "say where to look with --masks DIR and --references DIR"
        )
    return found[0] if found else None


def no_mask(image: Path, settings: ImportSettings) -> LeftOut:
    """Say that an image has no artifact mask."""
    if settings.masks is None:
        way = "paint NAME_mask.png beside NAME, or give --masks DIR"
    else:
        way = f"paint NAME.png or NAME_mask.png in {settings.masks}"
    return LeftOut(name=shown(image, settings), reason=f"no artifact mask: {way}")


def shown(path: Path, settings: ImportSettings) -> str:
    """Return a file's name from the source folder on."""
    return path.relative_to(settings.source).as_posix()


def _named(folder: Path, stem: str) -> list[Path]:
    return [path for path in pictures_in(folder) if path.stem == stem]


def _is_side_file(stem: str, stems: set[str]) -> bool:
    base, _, kind = stem.rpartition("_")
    return kind in SIDE_NAMES and base in stems
