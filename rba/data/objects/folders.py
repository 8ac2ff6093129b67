"""One folder an object, several views in it: photos of one's own, and the rendered pairs."""

from collections.abc import Iterator

from rba.data.build.sizes import is_picture
from rba.data.objects.views import ObjectViews, View, shown
from rba.data.objects.walk import NO_VIEWS, Folders, join
from rba.data.photo_lists import PHOTO_SUFFIXES

EXPECTED = "OBJECT/VIEW.jpg, at any depth: CLASS/OBJECT/VIEW.jpg"
_CORRESPONDENCE = ".correspondence.png"


def find_objects(folders: Folders, inside: str = "") -> Iterator[ObjectViews]:
    """Yield every folder that holds pictures, whatever lies above it."""
    names, files = folders.entries(inside)
    pictures = [name for name in files if is_picture(name, PHOTO_SUFFIXES)]
    if pictures and not inside:
        for name in pictures:
            folders.drop("in no object's folder", name)
    elif pictures:
        yield ObjectViews(
            name=shown(inside),
            views=[View(join(inside, name)) for name in pictures],
            correspondences=frozenset(name for name in files if name.endswith(_CORRESPONDENCE)),
        )
    elif not names and inside:
        folders.drop("folder without a picture", inside)
    for name in names:
        if name.lower() in NO_VIEWS:
            folders.drop("folder of masks or depths", join(inside, name))
        else:
            yield from find_objects(folders, join(inside, name))
