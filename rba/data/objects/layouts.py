"""Where objects come from: how their views lie on the disk, and how that is told."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from rba.data.build.sizes import DroppedError
from rba.data.objects import co3d, folders, mvimgnet, pair_rows
from rba.data.objects.choice import PairChoice, PairList
from rba.data.objects.views import ObjectViews
from rba.data.objects.walk import Folders
from rba.errors import InputError

_FINDERS: dict[str, tuple[Callable[[Folders], Iterator[ObjectViews]], str]] = {
    "folders": (folders.find_objects, folders.EXPECTED),
    "mvimgnet": (mvimgnet.find_objects, mvimgnet.EXPECTED),
    "co3d": (co3d.find_objects, co3d.EXPECTED),
}
LAYOUTS = ("auto", *_FINDERS, "pairs")
_LOOKED_AT = 2000  # paths that are enough to tell a layout


def list_pairs(objects: str, layout: str, choice: PairChoice) -> PairList:
    """Find the objects of an input and choose pairs of their views.

    Args:
        objects: A folder, or a list of pairs.
        layout: One of `LAYOUTS`; auto looks for what is particular to each.
        choice: Which views make pairs; a list of pairs is taken as it is.

    Returns:
        Pairs in an order that does not depend on the file system.

    Raises:
        InputError: If there is nothing of that layout.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout={layout}; give {', '.join(LAYOUTS)}")
    path = Path(objects).expanduser()
    is_list = path.suffix.lower() in pair_rows.SUFFIXES and path.is_file()
    if not path.is_dir() and not is_list:
        suffixes = " ".join(pair_rows.SUFFIXES)
        raise InputError(f"objects={objects} is not a folder, nor a list of pairs ({suffixes})")
    if layout not in ("auto", "pairs") and is_list:
        raise InputError(f"objects={objects} is not a folder; layout={layout} needs one")
    if layout == "pairs" and not is_list:
        raise InputError(f"objects={objects} is a folder; layout=pairs needs {pair_rows.EXPECTED}")
    if is_list:
        return _listed(path)
    return _found(path, tell_layout(path) if layout == "auto" else layout, choice)


def tell_layout(root: Path) -> str:
    """Return the layout of a folder."""
    if any(_few(root.glob(f"*/{co3d.FRAMES}"))):
        return "co3d"
    patterns = [f"{'*/' * depth}{mvimgnet.IMAGES}" for depth in (1, 2, 3)]
    if any(path.is_dir() for pattern in patterns for path in _few(root.glob(pattern))):
        return "mvimgnet"
    return "folders"


def _few(paths: Iterator[Path]) -> Iterator[Path]:
    try:
        yield from itertools.islice(paths, _LOOKED_AT)
    except OSError:
        return


def _found(path: Path, layout: str, choice: PairChoice) -> PairList:
    finder, expected = _FINDERS[layout]
    place, found = Folders(path), PairList(str(path), layout)
    for object_ in finder(place):
        found.num_objects += 1
        found.num_views += len(object_.views)
        try:
            for pair in choice.pairs(object_):
                found.append(pair)
        except DroppedError as reason:
            place.drop(str(reason), object_.name)
    found.dropped += sorted(place.dropped)
    if not found.num_objects:
        raise InputError(
            f"objects={path} holds no object of layout {layout}{_reasons(found)}; expected "
            f"{path}/{expected}"
        )
    if not found:
        raise InputError(f"objects={path} gives no pair of views{_reasons(found)}")
    return found


def _listed(path: Path) -> PairList:
    found = PairList(str(path.parent), "pairs")
    for pair in pair_rows.read_pairs(path, found.dropped):
        found.append(pair)
    if not found:
        raise InputError(f"objects={path} holds no pair{_reasons(found)}; expected a row for each")
    return found


def _reasons(found: PairList) -> str:
    reasons = [reason for reason, _ in found.dropped]
    counted = ", ".join(f"{reasons.count(r)} x {r}" for r in sorted(set(reasons)))
    return f" ({counted})" if counted else ""
