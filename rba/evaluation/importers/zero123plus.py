"""Zero123++: a picture of 2 x 3 views of 320 pixels, row by row, and the view that it was given."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rba.errors import InputError
from rba.evaluation.importers.found import (
    Box,
    FilePart,
    Found,
    ImportSettings,
    LeftOut,
    file_called,
    generated_images,
    mask_file,
    no_mask,
    only,
    shown,
    side_file,
)
from rba.pictures import read_image, read_mask

_SIDE = 320  # pixels of a view
_COLUMNS, _ROWS = 2, 3
_FIRST_AZIMUTH, _AZIMUTH_STEP = 30, 60  # degrees from the given view, the same in all versions


def find_zero123plus(settings: ImportSettings) -> Iterator[Found | LeftOut]:
    """Find ``NAME.png`` of 640 x 960 pixels, cut into ``NAME-0`` to ``NAME-5``.

    A view's mask is ``NAME_0_mask.png`` and so on, or a part of ``NAME_mask.png`` over the whole
    picture; a view without a marked pixel is no case. The reference is the given view:
    ``REFERENCES/NAME.*``, or ``NAME_reference.*`` beside the picture, or ``original.*`` beside it.

    Raises:
        InputError: If a mask or a reference is not unique.
    """
    for image in generated_images(settings.source):
        if image.stem != "original" and not _is_view_file(image.stem):
            yield from _find(image, settings)


def _is_view_file(stem: str) -> bool:
    """Return whether a name is ``NAME_0_mask`` or alike."""
    parts = stem.rsplit("_", 2)
    return len(parts) == 3 and parts[1] in "012345" and parts[2] in ("mask", "correspondence")


def _find(image: Path, settings: ImportSettings) -> Iterator[Found | LeftOut]:
    name = shown(image, settings)
    height, width = read_image(image).shape[:2]
    if (width, height) != (_COLUMNS * _SIDE, _ROWS * _SIDE):
        reason = f"not the {_COLUMNS * _SIDE}x{_ROWS * _SIDE} pixels of six views"
        yield LeftOut(name=name, reason=f"{reason}; import single views with --from csv")
        return
    reference = _reference(image, settings)
    if reference is None:
        way = "give --references DIR with NAME.png, or put NAME_reference.png beside NAME.png"
        yield LeftOut(name=name, reason=f"no given view: {way}")
        return
    masks = list(_view_masks(image, settings))
    if all(mask is None for mask in masks):
        yield no_mask(image, settings)
    for view, mask in enumerate(masks):
        if mask is None:
            continue
        yield Found(
            id=f"{image.stem}-{view}",
            image=FilePart(path=image, box=_box(view)),
            mask=mask,
            references=((FilePart(path=reference), side_file(reference, "mask")),),
            correspondence=side_file(image.with_stem(f"{image.stem}_{view}"), "correspondence"),
            metadata={
                "source": name,
                "view": view,
                "azimuth_degrees": _FIRST_AZIMUTH + view * _AZIMUTH_STEP,
            },
        )


def _box(view: int) -> Box:
    row, column = divmod(view, _COLUMNS)
    top, left = row * _SIDE, column * _SIDE
    return top, left, top + _SIDE, left + _SIDE


def _reference(image: Path, settings: ImportSettings) -> Path | None:
    if settings.references is not None:
        return file_called(settings.references, image.stem, image)
    beside = side_file(image, "reference"), file_called(image.parent, "original", image)
    return only((path for path in beside if path is not None), image)


def _view_masks(image: Path, settings: ImportSettings) -> Iterator[FilePart | None]:
    """Yield each view's mask, None where nothing is marked."""
    whole = mask_file(image, settings)
    single = [
        mask_file(image.with_stem(f"{image.stem}_{view}"), settings)
        for view in range(_COLUMNS * _ROWS)
    ]
    if whole is not None and any(single):
        raise InputError(
            f"{image.name} has a mask over all views, {whole}, and masks of single ones; keep one "
            "kind"
        )
    if whole is None:
        yield from (None if path is None else FilePart(path=path) for path in single)
        return
    marked = read_mask(whole)
    if marked.shape != (_ROWS * _SIDE, _COLUMNS * _SIDE):
        raise InputError(
            f"{whole} is {marked.shape[1]}x{marked.shape[0]} pixels, not {_COLUMNS * _SIDE}x"
            f"{_ROWS * _SIDE} as {image.name}"
        )
    for view in range(_COLUMNS * _ROWS):
        part = FilePart(path=whole, box=_box(view))
        yield part if np.any(part.cut(marked)) else None
