"""A result as files: pictures to look at, and an archive with everything in between."""

import dataclasses
import io
import json
import shutil
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rba.app.painting import shown
from rba.app.refining import Options
from rba.app.session import Kept, Session
from rba.case import Case
from rba.geometry import Box, resize
from rba.inference.images import ImageResult
from rba.inference.intermediates import save_image_intermediates
from rba.inference.original import write_like
from rba.pictures import write_png

_SMALLEST_SHOWN = 512  # pixels; smaller cut-outs are enlarged for looking at


def keep_result(
    session: Session,
    case: Case,
    result: ImageResult,
    *,
    model: str,
    options: Options,
    most: int,
) -> Kept:
    """Write a result into the session's folder and add it to the history.

    Args:
        session: The browser tab.
        case: What was refined, with all its references.
        result: What came of it.
        model: What the page calls the model.
        options: The settings.
        most: Results that are kept.
    """
    number = session.next_number()
    folder = session.folder / f"result-{number}"
    steps = folder / "archive"
    steps.mkdir(parents=True)
    save_image_intermediates(steps, case, result)
    settings = json.dumps({"model": model, **dataclasses.asdict(options)}, indent=2)
    (steps / "settings.json").write_text(settings + "\n", encoding="utf-8")
    stem = _file_name(case.id)
    _write_refined(steps / f"{stem}-refined.png", session, result)
    write_png(steps / "artifact_mask.png", case.artifact_mask)
    for index, reference in enumerate(case.references, 1):
        name = "reference.png" if len(case.references) == 1 else f"reference_{index}.png"
        write_png(steps / name, reference)
    archive = folder / f"{stem}-refined-{number}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as target:  # PNG is compressed already
        for path in sorted(steps.rglob("*")):
            target.write(path, path.relative_to(steps))
    picture = (steps / f"{stem}-refined.png").rename(folder / f"{stem}-refined-{number}.png")
    shutil.rmtree(steps)
    box = _around([defect.result.crop_box for defect in result.defects], *case.image.shape[:2])
    kept = Kept(
        number=number,
        caption=f"{number} · {time.strftime('%H:%M')}",
        whole=_pair(folder, "whole", shown(case.image), shown(result.image)),
        near=_pair(folder, "near", _near(case.image, box), _near(result.image, box)),
        picture=picture,
        archive=archive,
        folder=folder,
    )
    session.keep(kept, most)
    return kept


def _write_refined(path: Path, session: Session, result: ImageResult) -> None:
    """Write the refined picture with the mode and metadata of the file that was dropped."""
    content = None if session.picture is None else session.picture.content
    if content is None:
        write_png(path, result.image)
    else:
        write_like(path, result.image, result.feather_mask() > 0, io.BytesIO(content))


def _pair(folder: Path, name: str, before: np.ndarray, after: np.ndarray) -> tuple[Path, Path]:
    paths = folder / f"{name}-before.png", folder / f"{name}-after.png"
    for path, pixels in zip(paths, (before, after), strict=True):
        write_png(path, pixels)
    return paths


def _near(image: np.ndarray, box: Box) -> np.ndarray:
    cut = image[box.y0 : box.y1, box.x0 : box.x1]
    height, width = cut.shape[:2]
    times = max(_SMALLEST_SHOWN / max(height, width), 1.0)
    return shown(resize(cut, round(height * times), round(width * times)))


def _around(boxes: Sequence[Box], height: int, width: int) -> Box:
    """Return the part of a picture that holds all boxes."""
    return Box(
        max(min(box.x0 for box in boxes), 0),
        max(min(box.y0 for box in boxes), 0),
        min(max(box.x1 for box in boxes), width),
        min(max(box.y1 for box in boxes), height),
    )


def _file_name(name: str) -> str:
    """Return a name that every file system takes."""
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
    return kept[:60] or "picture"
