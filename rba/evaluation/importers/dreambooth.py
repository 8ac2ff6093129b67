"""DreamBooth: pictures by subject, and the photos that the subject was learnt from.

diffusers' example scripts write pictures of one subject into one folder (``image_0.png`` beside
the weights, or what the user's own loop saves) and class pictures as ``NUMBER-SHA1.jpg``; the data
set of the paper, and whoever runs over it, has a folder a subject.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from rba.errors import InputError
from rba.evaluation.importers.found import (
    FilePart,
    Found,
    ImportSettings,
    LeftOut,
    generated_images,
    mask_file,
    no_mask,
    shown,
    side_file,
)

_CLASS_PICTURE = re.compile(r"\d+-[0-9a-f]{40}")


def find_dreambooth(settings: ImportSettings) -> Iterator[Found | LeftOut]:
    """Find ``SUBJECT/**/NAME.png`` with ``REFERENCES/SUBJECT/*``, or ``NAME.png`` with
    ``REFERENCES/*``.

    Raises:
        InputError: If no folder of references is given, or a name is not unique.
    """
    if settings.references is None:
        raise InputError("--references is missing; give the folder of the subject's photos")
    folders = [settings.source, *sorted(p for p in settings.source.rglob("*") if p.is_dir())]
    for folder in folders:
        for image in generated_images(folder):
            yield _find(image, settings, settings.references)


def _find(image: Path, settings: ImportSettings, root: Path) -> Found | LeftOut:
    name = shown(image, settings)
    if _CLASS_PICTURE.fullmatch(image.stem):
        return LeftOut(name=name, reason="a class picture of the training shows no subject")
    parts = image.relative_to(settings.source).with_suffix("").parts
    photos = generated_images(root / parts[0] if len(parts) > 1 else root)
    if not photos and len(parts) > 1:
        reason = f"no photo of the subject in --references {root}/{parts[0]}"
        return LeftOut(name=name, reason=reason)
    if not photos:
        return LeftOut(name=name, reason=f"no photo of the subject in --references {root}")
    mask = mask_file(image, settings)
    if mask is None:
        return no_mask(image, settings)
    return Found(
        id="-".join(parts),
        image=FilePart(path=image),
        mask=FilePart(path=mask),
        references=tuple((FilePart(path=photo), side_file(photo, "mask")) for photo in photos),
        correspondence=side_file(image, "correspondence"),
        truth=side_file(image, "truth"),
        metadata={"source": name} | ({"subject": parts[0]} if len(parts) > 1 else {}),
    )
