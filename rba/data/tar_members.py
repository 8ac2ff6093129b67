"""Samples in a tar of others: where their members lie, so that each is read by itself."""

import posixpath
import tarfile
from collections.abc import Mapping
from pathlib import Path

from rba.pictures import IMAGE_SUFFIXES

SUFFIXES = IMAGE_SUFFIXES | {".jpe", ".jfif", ".gif"}
IMAGE, FACTS, CAPTION, MASK = "image", "json", "txt", "mask.png"

Members = Mapping[str, tuple[int, int]]


def find_members(tar: Path) -> tuple[list[tuple[str, Members]], str | None]:
    """Return the samples of a tar that have a picture.

    Members belong together up to the first dot of their names, as in WebDataset and img2dataset.

    Args:
        tar: An uncompressed tar.

    Returns:
        Name of the picture's member, and suffix (``image``, ``json``, ``txt``, ``mask.png``) ->
        offset and size in bytes; and what is wrong with the tar, or None.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    names: dict[str, str] = {}
    fault = None
    try:
        with tarfile.open(tar, "r:") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                key, suffix = _split(member.name)
                if suffix:
                    samples.setdefault(key, {})[suffix] = (member.offset_data, member.size)
                if suffix == IMAGE:
                    names[key] = member.name
    except (OSError, tarfile.TarError):
        fault = "damaged tar"
    return [(names[key], found) for key, found in samples.items() if IMAGE in found], fault


def _split(name: str) -> tuple[str, str]:
    """Return a member's sample and its suffix, which is empty for what is not read."""
    folder, name = posixpath.split(name)
    stem, _, suffix = name.partition(".")
    if f".{suffix.lower()}" not in SUFFIXES and suffix.lower() not in (FACTS, CAPTION, MASK):
        stem, _, suffix = name.rpartition(".")  # others put dots into names
    key, suffix = posixpath.join(folder, stem), suffix.lower()
    if suffix in (FACTS, CAPTION, MASK):
        return key, suffix
    picture = stem and f".{suffix}" in SUFFIXES and not stem.endswith("mask")
    return key, IMAGE if picture else ""
