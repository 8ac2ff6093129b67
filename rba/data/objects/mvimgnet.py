"""MVImgNet's layout, and any other with a folder ``images`` an object.

``CLASS/OBJECT/images/001.jpg``, cameras in ``CLASS/OBJECT/sparse/0/images.bin`` (COLMAP). Masks
lie in ``CLASS/OBJECT/masks`` (MVImgNet 2.0) or in a tree of their own beside the images', as
``mask/CLASS/OBJECT/001.jpg.png``, and may be of another size than the views.
"""

import os
from collections.abc import Iterator

from rba.data.build.sizes import DroppedError, is_picture
from rba.data.fetch import read_file
from rba.data.objects.cameras import Camera, read_colmap, view_directions
from rba.data.objects.views import ObjectViews, View, shown
from rba.data.objects.walk import NO_VIEWS, Folders, join
from rba.data.photo_lists import PHOTO_SUFFIXES

EXPECTED = "CLASS/OBJECT/images/001.jpg"
IMAGES = "images"
_MASKS = ("masks", "mask")
_CAMERAS = "sparse/0/images.bin"
_NO_VIEW = "bg_removed"  # copies of the views without their background


def find_objects(folders: Folders, inside: str = "") -> Iterator[ObjectViews]:
    """Yield every folder that holds a folder ``images``."""
    names, _ = folders.entries(inside)
    if IMAGES in names and inside:
        yield from image_folder(folders, inside)
        return
    if not names and inside:
        folders.drop("folder without images", inside)
    for name in names:
        if name.lower() not in NO_VIEWS:
            yield from find_objects(folders, join(inside, name))


def image_folder(folders: Folders, inside: str) -> Iterator[ObjectViews]:
    """Yield the object of a folder with its views in ``images``; none where that has none."""
    names = [
        name
        for name in folders.files(join(inside, IMAGES))
        if is_picture(name, PHOTO_SUFFIXES) and _NO_VIEW not in name
    ]
    if not names:
        folders.drop("folder without a picture", join(inside, IMAGES))
        return
    masks = _masks(folders, inside)
    cameras = _cameras(folders, inside)
    yield ObjectViews(
        name=shown(inside),
        views=[View(f"{inside}/{IMAGES}/{n}", _mask_of(n, masks), scaled_mask=True) for n in names],
        directions=view_directions(cameras, names) if cameras else None,
    )


def _masks(folders: Folders, inside: str) -> dict[str, str]:
    """Return the files of an object's masks by their names."""
    first, _, rest = inside.partition("/")
    above = os.path.basename(os.path.abspath(folders.root))
    places = [
        *(join(inside, name) for name in _MASKS),
        *(join(name, inside) for name in _MASKS),  # mask/CLASS/OBJECT beside CLASS/OBJECT
        *(join(name, rest) for name in _MASKS if rest and first not in _MASKS),  # beside image/
        *(f"../{name}/{inside}" for name in _MASKS if above not in _MASKS),
    ]
    for place in places:
        if (folders.root / place).is_dir():
            return {name: join(place, name) for name in folders.files(place)}
    return {}


def _mask_of(name: str, masks: dict[str, str]) -> str | None:
    stem = os.path.splitext(name)[0]
    wanted = (f"{name}.png", f"{stem}.png", name, f"{stem}.jpg")
    return next((masks[mask] for mask in wanted if mask in masks), None)


def _cameras(folders: Folders, inside: str) -> dict[str, Camera]:
    path = join(inside, _CAMERAS)
    if not os.path.lexists(folders.root / path):
        return {}
    try:
        cameras = read_colmap(read_file(folders.root / path))
    except DroppedError as reason:
        folders.drop(f"cameras: {reason}", path)
        return {}
    except ValueError:
        folders.drop("damaged cameras", path)
        return {}
    return {os.path.basename(name): camera for name, camera in cameras.items()}
