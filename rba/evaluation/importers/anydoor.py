"""AnyDoor: its inference script writes three panels in a row: reference, background, result."""

from collections.abc import Iterator
from pathlib import Path

from rba.errors import InputError
from rba.evaluation.importers.found import (
    FilePart,
    Found,
    ImportSettings,
    LeftOut,
    file_called,
    generated_images,
    mask_file,
    no_mask,
    shown,
    side_file,
)
from rba.pictures import read_image

FIRST_PANELS = ("equal", "square")


def find_anydoor(settings: ImportSettings) -> Iterator[Found | LeftOut]:
    """Find ``NAME.*``, three panels in a row; the last one is the image.

    Over VITON-HD the script makes all panels equal; for a single picture it makes the first one as
    wide as the picture is high. The artifact mask is as large as the last panel. The reference is
    the first panel, or ``REFERENCES/NAME.*`` (with ``NAME_mask.*`` or its alpha as object mask).

    Raises:
        InputError: If both widths of the first panel are possible, or a file is not unique.
    """
    for image in generated_images(settings.source):
        yield _find(image, settings)


def _find(image: Path, settings: ImportSettings) -> Found | LeftOut:
    name = shown(image, settings)
    height, width = read_image(image).shape[:2]
    first = _first_panel(image, height, width, settings.first_panel)
    if first is None:
        return LeftOut(
            name=name, reason="no three panels in a row; import single pictures with --from csv"
        )
    mask = mask_file(image, settings)
    if mask is None:
        return no_mask(image, settings)
    reference = FilePart(path=image, box=(0, 0, height, first))
    object_mask = None
    if settings.references is not None:
        file = file_called(settings.references, image.stem, image)
        if file is None:
            return LeftOut(name=name, reason=f"no {image.stem}.* in {settings.references}")
        reference, object_mask = FilePart(path=file), side_file(file, "mask")
    return Found(
        id=image.stem,
        image=FilePart(path=image, box=(0, (width + first) // 2, height, width)),
        mask=FilePart(path=mask),
        references=((reference, object_mask),),
        correspondence=side_file(image, "correspondence"),
        truth=side_file(image, "truth"),
        metadata={"source": name},
    )


def _first_panel(image: Path, height: int, width: int, choice: str | None) -> int | None:
    """Return the first panel's width; the other two share the rest."""
    widths = {"equal": width // 3 if width % 3 == 0 else None, "square": None}
    if width > height and (width - height) % 2 == 0:
        widths["square"] = height
    if choice is not None:
        return widths[choice]
    possible = {value for value in widths.values() if value is not None}
    if len(possible) > 1:
        raise InputError(
            f"{image.name} ({width}x{height}) may be three panels of {width // 3} pixels, or one "
            f"of {height} and two of {(width - height) // 2}; say --first-panel equal (its run "
            "over VITON-HD) or square (its single picture)"
        )
    return possible.pop() if possible else None
