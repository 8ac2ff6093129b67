"""A folder of objects, each a folder of views, as the input of refinement shards."""

import dataclasses
from pathlib import Path

import numpy as np

from rba.data.build import DroppedError, bound_size, is_picture
from rba.data.photos import read_masked
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.pictures import IMAGE_SUFFIXES


@dataclasses.dataclass(frozen=True)
class ObjectFolder:
    """One object.

    Attributes:
        path: ``ROOT/OBJECT``.
        views: Its pictures, sorted by name; masks and correspondences are not views.
    """

    path: Path
    views: tuple[Path, ...]


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two views of one object: the target is refined by the reference."""

    object: str
    target: Path
    reference: Path

    @property
    def name(self) -> str:
        """``OBJECT/TARGET-REFERENCE``."""
        return f"{self.object}/{self.target.stem}-{self.reference.stem}"

    @property
    def correspondence(self) -> Path:
        """Where the exact correspondence lies if there is one."""
        name = f"{self.target.stem}-{self.reference.stem}.correspondence.png"
        return self.target.with_name(name)


@dataclasses.dataclass(frozen=True)
class View:
    """A view at the size it is stored in: HxWx3 uint8 and its HxW bool object mask or None."""

    image: np.ndarray
    mask: np.ndarray | None


def find_objects(root: str | Path) -> list[ObjectFolder]:
    """Return the objects of a folder, sorted by name.

    Raises:
        InputError: If the folder is missing or has no folder with pictures in it.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"objects={root} is not a folder; give a folder with one folder an object")
    objects: list[ObjectFolder] = []
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        views = sorted(path for path in folder.iterdir() if is_picture(path, IMAGE_SUFFIXES))
        if views:
            objects.append(ObjectFolder(folder, tuple(views)))
    if not objects:
        raise InputError(
            f"objects={root} holds no folder with pictures; expected {root}/OBJECT/VIEW.jpg"
        )
    return objects


def choose_pairs(folder: ObjectFolder, most: int, seed: int) -> list[Pair]:
    """Return ordered pairs of an object's views, at most ``most`` of them, drawn by the seed.

    Raises:
        DroppedError: If the object has fewer than two views.
    """
    if len(folder.views) < 2:
        raise DroppedError("fewer than two views")
    name = folder.path.name
    pairs = [Pair(name, a, b) for a in folder.views for b in folder.views if a != b]
    if len(pairs) > most:
        chosen = keyed_generator(seed, "pairs", name, 0).permutation(len(pairs))[:most]
        pairs = [pairs[number] for number in sorted(chosen)]
    return pairs


def load_view(path: Path, longest: int) -> View:
    """Read a view with its mask, shrunk to a longest side of ``longest`` pixels.

    Raises:
        DroppedError: With the reason.
    """
    return View(*bound_size(*read_masked(path), longest))
