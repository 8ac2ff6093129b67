"""CO3D's layout (version 2): categories, sequences in them, annotations of all frames.

``CATEGORY/SEQUENCE/{images,masks}/frame000001.{jpg,png}`` with ``CATEGORY/frame_annotations.jgz``
(paths, cameras) and ``sequence_annotations.jgz`` (quality). A category whose annotations are
missing or damaged is read by its folders, without cameras.
"""

import gzip
import json
import os
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from rba.data.objects.cameras import Camera, pytorch3d_camera, view_directions
from rba.data.objects.mvimgnet import image_folder
from rba.data.objects.views import ObjectViews, View, shown
from rba.data.objects.walk import Folders, join

EXPECTED = "CATEGORY/frame_annotations.jgz and CATEGORY/SEQUENCE/images/frame000001.jpg"
FRAMES, SEQUENCES = "frame_annotations.jgz", "sequence_annotations.jgz"

_Frame = tuple[int, str, str | None, Camera | None]  # number, image, mask, camera


def find_objects(folders: Folders) -> Iterator[ObjectViews]:
    """Yield every sequence of every category."""
    categories, files = folders.entries("")
    if FRAMES in files:
        folders.drop("annotations in no category's folder: give the folder above", FRAMES)
    for category in categories:
        names, files = folders.entries(category)
        sequences = _frames(folders, category) if FRAMES in files else None
        if sequences is None:
            for name in names:
                if (folders.root / category / name / "images").is_dir():
                    yield from image_folder(folders, join(category, name))
            continue
        facts = _facts(folders, category) if SEQUENCES in files else {}
        for name in sorted(sequences):
            yield from _sequence(folders, category, name, sequences[name], facts.get(name, {}))


def _sequence(
    folders: Folders, category: str, name: str, frames: list[_Frame], facts: Mapping[str, Any]
) -> Iterator[ObjectViews]:
    present: dict[str, frozenset[str]] = {}

    def exists(path: str) -> bool:
        folder, _, file = path.rpartition("/")
        if folder not in present:
            present[folder] = frozenset(folders.files(folder))
        return file in present[folder]

    views: list[View] = []
    cameras: dict[str, Camera] = {}
    for _, image, mask, camera in sorted(frames, key=lambda frame: frame[:2]):
        if not exists(image):
            folders.drop("annotated frame is missing", image)
            continue
        if mask is not None and not exists(mask):
            folders.drop("annotated mask is missing", mask)
            mask = None
        views.append(View(image, mask, scaled_mask=True))
        if camera is not None:
            cameras[image] = camera
    if views:
        paths = [view.path for view in views]
        yield ObjectViews(
            name=shown(join(category, name)),
            views=views,
            directions=view_directions(cameras, paths) if cameras else None,
            facts={"category": category, **facts},
        )


def _frames(folders: Folders, category: str) -> dict[str, list[_Frame]] | None:
    """Return the frames of each sequence as annotated; None where the file is damaged."""
    path = join(category, FRAMES)
    sequences: dict[str, list[_Frame]] = defaultdict(list)
    try:
        for number, row in enumerate(_rows(folders, path)):
            try:
                image, mask = _inside(row["image"]["path"]), row.get("mask") or {}
                frame = int(row.get("frame_number") or number)
                masked = _inside(mask["path"]) if mask.get("path") else None
                sequences[str(row["sequence_name"])].append((frame, image, masked, _camera(row)))
            except (AttributeError, KeyError, TypeError, ValueError):
                folders.drop("annotation of no frame", f"{path} row {number + 1}")
    except PermissionError:
        folders.drop("no permission", path)
        return None
    except (OSError, EOFError, zlib.error, ValueError):
        folders.drop("damaged annotations", path)
        return None
    return sequences


def _facts(folders: Folders, category: str) -> dict[str, dict[str, Any]]:
    """Return what is said of each sequence."""
    path, facts = join(category, SEQUENCES), dict[str, dict[str, Any]]()
    try:
        for row in _rows(folders, path):
            quality = row.get("viewpoint_quality_score")
            if isinstance(quality, float):
                facts[str(row.get("sequence_name"))] = {"viewpoint_quality": round(quality, 4)}
    except (OSError, EOFError, zlib.error, ValueError, AttributeError):
        folders.drop("damaged annotations", path)
    return facts


def _rows(folders: Folders, path: str) -> Iterator[Any]:
    """Yield the items of a gzipped JSON list one by one: as objects all of them need gigabytes."""
    with gzip.open(folders.root / path, "rb") as stream:
        text = stream.read().decode("utf-8")
    decoder, position = json.JSONDecoder(), text.find("[") + 1
    if not position:
        raise ValueError("no list")
    while (position := _skip(text, position)) < len(text) and text[position] != "]":
        row, position = decoder.raw_decode(text, position)
        yield row
    if position >= len(text):
        raise ValueError("cut short")


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in ", \t\r\n":
        position += 1
    return position


def _camera(row: Mapping[str, Any]) -> Camera | None:
    viewpoint = row.get("viewpoint")
    return None if viewpoint is None else pytorch3d_camera(viewpoint["R"], viewpoint["T"])


def _inside(path: Any) -> str:
    """Return a path of the set; refuse one that leads out of it."""
    if not isinstance(path, str) or os.path.isabs(path) or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} is no path inside of the set")
    return PurePosixPath(path).as_posix()
