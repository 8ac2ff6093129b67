"""List folders that may be unreadable, linked to each other, or without an end."""

import os
from pathlib import Path

from rba.data.objects.views import in_order, shown

# Beside views of several data sets; pictures in them are no views.
NO_VIEWS = frozenset({"mask", "masks", "depth", "depths", "depth_masks"})


class Folders:
    """The folders below a root.

    A link to a folder is followed where it leads out of the root, and once: what lies inside is
    found anyway, and a loop would have no end.

    Args:
        root: An existing folder.

    Attributes:
        root: The folder.
        dropped: Reason and name of what was found and cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dropped: list[tuple[str, str]] = []
        self._real = os.path.realpath(root)
        self._followed: dict[str, str] = {}  # real path -> the link that led there
        self._reported: set[tuple[str, str]] = set()

    def drop(self, reason: str, name: str) -> None:
        """Take note of something that cannot be used; once, however often it is met."""
        fault = reason, shown(name)
        if fault not in self._reported:
            self._reported.add(fault)
            self.dropped.append(fault)

    def entries(self, inside: str) -> tuple[list[str], list[str]]:
        """Return the names of the folders and of the files of a folder, in order.

        Hidden ones are left out. Of links only those to files and those worth following stay.

        Args:
            inside: Path relative to the root, "" = the root.
        """
        found: dict[str, os.DirEntry[str]] = {}
        try:
            with os.scandir(self.root / inside) as entries:
                found = {entry.name: entry for entry in entries if entry.name[0] != "."}
        except PermissionError:
            self.drop("no permission", inside or ".")
        except OSError:
            self.drop("unreadable folder", inside or ".")
        folders: list[str] = []
        files: list[str] = []
        for name in in_order(list(found)):
            if not _is_folder(found[name]):
                files.append(name)
            elif not found[name].is_symlink() or self._follow(join(inside, name)):
                folders.append(name)
        return folders, files

    def files(self, inside: str) -> list[str]:
        """Return the names of the files of a folder, in order; none where there is no folder."""
        return self.entries(inside)[1] if (self.root / inside).is_dir() else []

    def _follow(self, inside: str) -> bool:
        real = os.path.realpath(self.root / inside)
        common = os.path.commonpath([real, self._real])
        first = self._followed.setdefault(real, inside)
        if common in (real, self._real) or first != inside:
            self.drop("linked folder", inside)
            return False
        return True


def join(inside: str, name: str) -> str:
    """Return the path of a name in a folder relative to the root."""
    return f"{inside}/{name}" if inside else name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: read as a file it says so
        return False
