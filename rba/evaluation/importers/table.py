"""One's own files: a CSV table with a row a case."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from rba.errors import InputError
from rba.evaluation.importers.found import FilePart, Found, ImportSettings, LeftOut

COLUMNS = {
    "id": "unique name; without it the image's name",
    "image": "generated image with a defect",
    "mask": "artifact mask of the image's size, white = defect",
    "reference": "picture of the same object; several between semicolons",
    "reference_mask": "object mask of the reference; as many, an empty one = unknown",
    "correspondence": "mask on the first reference, white = where the defect's content lies",
    "truth": "the image without its defect",
    "task": "customization, view_synthesis, composition, try_on or another word",
    "generator": "what made the image",
}
"""What a table may hold; ``image``, ``mask`` and ``reference`` must be there. Paths start at the
table's folder."""

_NEEDED = ("image", "mask", "reference")
_SEPARATOR = ";"


def find_table(settings: ImportSettings) -> Iterator[Found | LeftOut]:
    """Find a case a row.

    Raises:
        InputError: If the table cannot be read, or its columns are not those of `COLUMNS`.
    """
    source = settings.source
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            _check_columns(source, table.fieldnames or ())
            for row in table:
                yield _find(f"{source.name}:{table.line_num}", row, settings)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{source} cannot be read as UTF-8 CSV: {error}") from error


def _check_columns(source: Path, names: object) -> None:
    assert isinstance(names, (list, tuple))
    unknown = [name for name in names if name not in COLUMNS]
    missing = [name for name in _NEEDED if name not in names]
    if unknown or missing:
        what = f"has no column {missing[0]}" if missing else f"has the column {unknown[0]!r}"
        raise InputError(f"{source} {what}; known are {', '.join(COLUMNS)}")


def _find(
    place: str, row: Mapping[str | None, object], settings: ImportSettings
) -> Found | LeftOut:
    if None in row or None in row.values():
        return LeftOut(name=place, reason="the row does not have the header's columns")
    cells = {name: str(value).strip() for name, value in row.items() if name is not None}
    empty = [name for name in _NEEDED if not cells[name]]
    if empty:
        return LeftOut(name=place, reason=f"its {empty[0]} is empty")
    base = settings.source.parent
    references = [base / text.strip() for text in cells["reference"].split(_SEPARATOR)]
    masks: list[Path | None] = [None] * len(references)
    if cells.get("reference_mask"):
        texts = [text.strip() for text in cells["reference_mask"].split(_SEPARATOR)]
        masks = [base / text if text else None for text in texts]
    if len(masks) != len(references):
        reason = f"{len(references)} references but {len(masks)} object masks"
        return LeftOut(name=place, reason=f"{reason}; leave gaps between semicolons")
    optional = {name: base / cells[name] for name in ("correspondence", "truth") if cells.get(name)}
    image = base / cells["image"]
    return Found(
        id=cells.get("id") or image.stem,
        image=FilePart(path=image),
        mask=FilePart(path=base / cells["mask"]),
        references=tuple(
            (FilePart(path=path), mask) for path, mask in zip(references, masks, strict=True)
        ),
        correspondence=optional.get("correspondence"),
        truth=optional.get("truth"),
        task=cells.get("task", ""),
        generator=cells.get("generator", ""),
        metadata={"source": cells["image"]},
    )
