"""The list of jobs of ``rba refine --jobs``: JSON lines, a CSV table, or a folder of cases."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from rba.case import Case
from rba.errors import InputError
from rba.pictures import IMAGE_SUFFIXES, read_image_with_alpha, read_mask

COLUMNS = ("id", "image", "mask", "reference", "reference_mask")
_SEPARATOR = ";"  # between several references in one cell of a table


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One image to refine, as files.

    Attributes:
        id: Unique name; the outputs are called after it.
        image: Generated image with a defect.
        mask: Mask of the defect, of the image's size.
        references: One or more pictures of the same object.
        reference_masks: For each reference the file of its object mask, or None.
    """

    id: str
    image: Path
    mask: Path
    references: tuple[Path, ...]
    reference_masks: tuple[Path | None, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that the job reads."""
        masks = tuple(path for path in self.reference_masks if path is not None)
        return (self.image, self.mask, *self.references, *masks)

    def read(self) -> Case:
        """Read the pictures.

        Raises:
            InputError: If one is missing, no image, wholly transparent or empty, or sizes disagree.
        """
        image, shown = read_image_with_alpha(self.image)
        if shown is not None and not shown.any():
            raise InputError(f"{self.image} is wholly transparent; save it without alpha")
        pairs = [
            read_reference(reference, mask)
            for reference, mask in zip(self.references, self.reference_masks, strict=True)
        ]
        return Case(
            id=self.id,
            image=image,
            artifact_mask=read_mask(self.mask),
            references=tuple(reference for reference, _ in pairs),
            reference_masks=tuple(mask for _, mask in pairs),
        )


def read_jobs(source: str | Path) -> list[Job]:
    """Read a list of jobs; the pictures are not opened.

    Args:
        source: ``FILE.jsonl`` (an object a line), ``FILE.csv`` (a header and a row a job; several
            references between semicolons), both with the columns of `COLUMNS`, or a folder with one
            folder a job that holds ``image.* mask.* reference*.*``, optional ``reference_mask*.*``.
            Relative paths start at the list's folder. Without ``id``, the image's name is taken.

    Raises:
        InputError: If the list is missing, empty or malformed; the message names the line.
    """
    source = Path(source)
    if source.is_dir():
        jobs = [("", _job_of_folder(folder)) for folder in _job_folders(source)]
    else:
        jobs = [(place, _job_of_row(place, row, source.parent)) for place, row in _rows(source)]
    _check_ids(jobs)
    return [job for _, job in jobs]


def _rows(source: Path) -> list[tuple[str, Mapping[str, object]]]:
    readers: dict[str, Callable[[Path], Iterable[tuple[int, Mapping[str, object]]]]] = {
        ".jsonl": _json_rows,
        ".csv": _csv_rows,
    }
    reader = readers.get(source.suffix.lower())
    if reader is None:
        raise InputError(f"--jobs {source}: give a .jsonl file, a .csv file or a folder")
    if not source.is_file():
        raise InputError(f"--jobs {source} does not exist; give a file or a folder of jobs")
    try:
        rows = [(f"{source}:{line}", row) for line, row in reader(source)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"--jobs {source} cannot be read as UTF-8 text: {error}") from error
    if not rows:
        raise InputError(f"--jobs {source} holds no job; give one a line")
    return rows


def _json_rows(source: Path) -> Iterable[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(source.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{source}:{number} is no JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{source}:{number}: give an object with {', '.join(COLUMNS)}")
        yield number, row


def _csv_rows(source: Path) -> Iterable[tuple[int, Mapping[str, object]]]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file)
        for row in table:
            if None in row or None in row.values():
                raise InputError(
                    f"{source}:{table.line_num}: the row does not have the header's columns "
                    f"({', '.join(table.fieldnames or ())})"
                )
            cells: dict[str, object] = {key: value for key, value in row.items() if value}
            for name in ("reference", "reference_mask"):
                if name in cells:
                    cells[name] = str(cells[name]).split(_SEPARATOR)
            yield table.line_num, cells


def _job_of_row(place: str, row: Mapping[str, object], base: Path) -> Job:
    unknown = sorted(set(row) - set(COLUMNS))
    if unknown:
        raise InputError(f"{place}: {unknown[0]!r} is unknown; known are {', '.join(COLUMNS)}")
    image, mask = (_paths(place, row, name, base, exactly=1)[0] for name in ("image", "mask"))
    references = _paths(place, row, "reference", base)
    masks: tuple[Path | None, ...] = (None,) * len(references)
    if row.get("reference_mask"):
        masks = _paths(place, row, "reference_mask", base, exactly=len(references), gaps=True)
    assert image is not None
    assert mask is not None
    name = row.get("id", image.stem)
    if not isinstance(name, str | int):
        raise InputError(f"{place}: id {name!r}; give a text")
    given = tuple(path for path in references if path is not None)
    return Job(id=str(name), image=image, mask=mask, references=given, reference_masks=masks)


def _paths(
    place: str,
    row: Mapping[str, object],
    name: str,
    base: Path,
    *,
    exactly: int | None = None,
    gaps: bool = False,
) -> tuple[Path | None, ...]:
    """Return a cell's paths; with ``gaps``, None where the cell has null or nothing."""
    value = row.get(name)
    texts = value if isinstance(value, list) else [value]
    paths: list[Path | None] = []
    for text in texts:
        if isinstance(text, str) and text.strip():
            paths.append(base / text.strip())
        elif gaps and not text:
            paths.append(None)
        else:
            raise InputError(f"{place}: {name} is {value!r}; give the path of a file")
    if not paths or (exactly is not None and len(paths) != exactly):
        raise InputError(f"{place}: {name} has {len(paths)} paths; give {exactly or 'at least 1'}")
    return tuple(paths)


def _job_folders(root: Path) -> list[Path]:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _find(path, "image"))
    if not folders:
        raise InputError(
            f"--jobs {root} holds no job; expected folders with image.png, mask.png, reference.png"
        )
    return folders


def _job_of_folder(folder: Path) -> Job:
    image, masks = _find(folder, "image"), _find(folder, "mask")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    object_masks = {
        path.stem.removeprefix("reference_mask"): path
        for path in pictures
        if path.stem.startswith("reference_mask")
    }
    references = tuple(
        path
        for path in pictures
        if path.stem.startswith("reference") and path not in object_masks.values()
    )
    for name, found in (("mask", masks), ("reference", references)):
        if not found:
            raise InputError(f"{folder} holds no {name}.png; a job needs image, mask, reference")
    if len(image) > 1 or len(masks) > 1:
        raise InputError(f"{folder} holds two images or two masks; keep one of each")
    return Job(
        id=folder.name,
        image=image[0],
        mask=masks[0],
        references=references,
        reference_masks=tuple(
            object_masks.get(path.stem.removeprefix("reference")) for path in references
        ),
    )


def _find(folder: Path, stem: str) -> list[Path]:
    return [
        folder / (stem + end) for end in sorted(IMAGE_SUFFIXES) if (folder / (stem + end)).is_file()
    ]


def _check_ids(jobs: Iterable[tuple[str, Job]]) -> None:
    seen: dict[str, str] = {}
    for place, job in jobs:
        folded = job.id.casefold()  # one file on systems that fold case
        if job.id != Path(job.id).name or job.id.startswith(".") or "\\" in job.id or not job.id:
            raise InputError(f"{place}: id {job.id!r} is no file name; set another id")
        if folded in seen:
            raise InputError(f"{place}: id {job.id!r} is taken by {seen[folded]}; set another id")
        seen[folded] = place


def read_reference(
    path: str | Path, mask: str | Path | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a reference and its object mask; without one its alpha, if it has one.

    Raises:
        InputError: If a file is missing or no image, or marks no object.
    """
    reference, alpha = read_image_with_alpha(path)
    object_mask = alpha if mask is None else read_mask(mask)
    if object_mask is not None and not object_mask.any():
        source = mask or f"the alpha channel of {path}"
        raise InputError(f"{source} marks no object; mark it, or leave the mask out")
    return reference, object_mask
