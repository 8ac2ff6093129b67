"""What is known of an object's views before they are read."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

_DIGITS = re.compile(r"(\d+)")


@dataclasses.dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        path: Relative to the set's root, or absolute, or a URL.
        mask: File of its object mask, likewise; None = ``NAME.mask.png`` beside it, or its alpha.
        scaled_mask: The mask may be smaller or larger than the view, as some data sets have it.
    """

    path: str
    mask: str | None = None
    scaled_mask: bool = False

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePath(self.path).name


@dataclasses.dataclass(frozen=True)
class ObjectViews:
    """One object.

    Attributes:
        name: Unique in its set: ``CLASS/OBJECT``.
        views: In the order they were taken in, as far as names tell.
        directions: From the object to the camera of each view, unit vectors, None where unknown.
        correspondences: Names of the exact correspondences beside the views.
        facts: What else is known, JSON-serialisable, for the records.
    """

    name: str
    views: Sequence[View]
    directions: Sequence[Sequence[float] | None] | None = None
    correspondences: frozenset[str] = frozenset()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])


@dataclasses.dataclass(frozen=True)
class ViewPair:
    """Two views of one object: the target is refined by the reference.

    Attributes:
        object: Its name.
        target: The view that is refined.
        reference: The view that shows how.
        correspondence: File of the exact correspondence over the target, None where there is none.
        facts: What else is known, for the record.
    """

    object: str
    target: View
    reference: View
    correspondence: str | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict[str, Any])

    @property
    def name(self) -> str:
        """``OBJECT/TARGET-REFERENCE``, as reports call it."""
        stems = [PurePath(view.path).stem for view in (self.target, self.reference)]
        if stems[0] == stems[1]:
            stems = [self.target.name, self.reference.name]
        return shown(f"{self.object}/{stems[0]}-{stems[1]}")


def in_order(names: Sequence[str]) -> list[str]:
    """Sort names as people count: ``9.jpg`` before ``10.jpg``."""
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = _DIGITS.split(name)
    return [(int(p), "") if n % 2 else (-1, p) for n, p in enumerate(parts)], name


def shown(name: str) -> str:
    """Return a file's name as text that can be written, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "replace")
