"""What one browser tab has loaded, found and made; it goes when the tab closes."""

import dataclasses
import secrets
import shutil
import threading
from pathlib import Path

import numpy as np

from rba.app.refining import Options
from rba.app.uploads import Picture
from rba.case import Case
from rba.errors import InputError
from rba.inference.images import DefectMatch
from rba.pictures import write_png


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """Where the defects' content lies on the references.

    Attributes:
        mask: HxW bool, what was painted.
        options: The settings then.
        matches: One a defect, the largest first: an alignment a reference, and which is used unless
            the user chooses.
    """

    mask: np.ndarray
    options: Options
    matches: tuple[DefectMatch, ...]

    def same_defect(self, mask: np.ndarray) -> int | None:
        """Return the number of the defect that a mask overlaps most, None where it meets none."""
        shared = [int((match.mask & mask).sum()) for match in self.matches]
        return int(np.argmax(shared)) if any(shared) else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """One result: files in the session's folder.

    Attributes:
        number: Counts from 1 in a session.
        caption: One line.
        whole: (before, after) for looking at.
        near: The same around the defect.
        picture: The refined picture in full size.
        archive: Everything, zipped.
        folder: Holds these files.
    """

    number: int
    caption: str
    whole: tuple[Path, Path]
    near: tuple[Path, Path]
    picture: Path
    archive: Path
    folder: Path


class Session:
    """One browser tab.

    Attributes:
        folder: Its files; made at once, deleted by `close`.
        picture: The picture with the defect.
        painted: Whether something was painted on it when the page last said what is next.
        references: Pictures of the object.
        found: The last alignment, while picture and references are the same.
        defect: The defect whose match is looked at, from 0.
        chosen: The reference that the user wants, by defect; the others take the best match.
        corrected: hxw bool regions that the user painted, by (defect, reference).
        region_on: (defect, reference) that the region editor shows.
        region_shown: Its region as the editor was given it, in the editor's size.
        results: Oldest first.
        shown: The result that is looked at.
        stop: Set when the user wants the refinement to stop.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.picture: Picture | None = None
        self.painted = False
        self.references: tuple[Picture, ...] = ()
        self.found: Found | None = None
        self.defect = 0
        self.chosen: dict[int, int] = {}
        self.corrected: dict[tuple[int, int], np.ndarray] = {}
        self.region_on: tuple[int, int] | None = None
        self.region_shown: np.ndarray | None = None
        self.results: list[Kept] = []
        self.shown: Kept | None = None
        self.stop = threading.Event()
        self._count = 0
        folder.mkdir(parents=True)

    def forget_found(self) -> None:
        """Forget the regions: picture or references have changed."""
        self.found = self.region_on = self.region_shown = None
        self.defect, self.chosen, self.corrected = 0, {}, {}

    def found_anew(self, found: Found) -> None:
        """Take what was found; what the user wanted of a defect stays with the one in its place."""
        old = self.found
        if old is not None:
            place = {
                number: old.same_defect(match.mask) for number, match in enumerate(found.matches)
            }
            self.chosen = {k: self.chosen[o] for k, o in place.items() if o in self.chosen}
            self.corrected = {
                (k, reference): region
                for k, o in place.items()
                for (defect, reference), region in self.corrected.items()
                if defect == o
            }
        self.found = found
        self.defect = min(self.defect, len(found.matches) - 1)

    def case(self, mask: np.ndarray) -> Case:
        """Return what is loaded as a case.

        Raises:
            InputError: If something is missing, saying what to do.
        """
        if self.picture is None:
            raise InputError("Drop the picture with the defect first.")
        if not mask.any():
            raise InputError("Paint over the defect first: the brush is beside the picture.")
        if not self.references:
            raise InputError("Drop a reference first: a picture of the same object.")
        return Case(
            id=Path(self.picture.name).stem,
            image=self.picture.pixels,
            artifact_mask=mask,
            references=tuple(item.pixels for item in self.references),
            reference_masks=tuple(item.object_mask for item in self.references),
        )

    def file(self, pixels: np.ndarray, name: str = "shown") -> Path:
        """Write a picture for the browser to fetch."""
        path = self.folder / f"{name}-{secrets.token_hex(8)}.png"
        write_png(path, pixels)
        return path

    def next_number(self) -> int:
        """Return the number of the next result."""
        self._count += 1
        return self._count

    def keep(self, result: Kept, most: int) -> None:
        """Add a result and delete what is older than the last ``most``."""
        self.results.append(result)
        self.shown = result
        for old in self.results[:-most]:
            shutil.rmtree(old.folder, ignore_errors=True)
        del self.results[:-most]

    def close(self) -> None:
        """Stop what runs and delete all files."""
        self.stop.set()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sessions:
    """The sessions of all open tabs, by the browser's session name.

    Args:
        folder: Where their folders are made, under names that nobody can guess.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def of(self, name: str | None) -> Session:
        """Return a tab's session, a new one where there is none."""
        with self._lock:
            key = name or ""
            if key not in self._open:
                self._open[key] = Session(self._folder / f"session-{secrets.token_urlsafe(24)}")
            return self._open[key]

    def close(self, name: str | None) -> None:
        """Forget a tab and delete its files."""
        with self._lock:
            session = self._open.pop(name or "", None)
        if session is not None:
            session.close()

    def close_all(self) -> None:
        """Forget all tabs."""
        for name in list(self._open):
            self.close(name)
