"""A benchmark folder as the runner walks it: all facts at once, the pictures case by case."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.benchmark import case_folders, read_case
from rba.evaluation.conditions import object_name
from rba.metrics.region import truth_mask

_SHOWN = 3  # broken cases that the message names


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """What is kept of a case while its pictures are not.

    Attributes:
        number: Its place in the whole set, which keys its noise.
        folder: Where it lies.
        id: Unique, a file name.
        task: Of the table's columns.
        object_name: The object that it shows; the id where that is not known.
        size: Height and width of the image in pixels.
        artifact_share: Share of the image that the artifact mask covers.
        has_truth: The clean image is known.
        truth_share: Share of the first reference that the true region covers; None = not known.
    """

    number: int
    folder: Path
    id: str
    task: str
    object_name: str
    size: tuple[int, int]
    artifact_share: float
    has_truth: bool
    truth_share: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseSet:
    """A benchmark folder, checked; or a part of one.

    Attributes:
        root: The folder.
        cases: Those of this part, in order.
        digest: SHA-256 over every file of every case of the whole folder.
        whole: Of the whole folder: where another object's picture may be taken from.
    """

    root: Path
    cases: Sequence[CaseFacts]
    digest: str
    whole: Sequence[CaseFacts]

    def read(self, facts: CaseFacts) -> Case:
        """Read one case's pictures."""
        return read_case(facts.folder)

    def other_object(self, number: int) -> CaseFacts | None:
        """Return the next case of the folder that shows another object; None where none does."""
        own = self.whole[number].object_name
        for offset in range(1, len(self.whole)):
            other = self.whole[(number + offset) % len(self.whole)]
            if other.object_name != own:
                return other
        return None

    def part(self, numbers: Sequence[int]) -> "CaseSet":
        """Return the cases of these numbers, in order; they keep them."""
        wanted = set(numbers)
        return dataclasses.replace(self, cases=[x for x in self.cases if x.number in wanted])


def open_case_set(
    root: str | Path, *, option: str = "--bench", follow: Callable[[int], None] | None = None
) -> CaseSet:
    """Read every case once, and keep what is small.

    Args:
        root: A benchmark folder (`rba.evaluation.benchmark`).
        option: What the user gave it by, for messages.
        follow: Called with the number of cases in all, once, then with 0 after each.

    Raises:
        InputError: If it is no benchmark folder, or cases of it are broken, or have no id that can
            be a file's name, or the same.
    """
    folders = case_folders(root)
    digest, facts, problems = hashlib.sha256(), list[CaseFacts](), list[str]()
    if follow is not None:
        follow(len(folders))
    for number, folder in enumerate(folders):
        try:
            facts.append(_facts(read_case(folder), folder, number))
        except InputError as error:
            problems.append(str(error))
        for part in _contents(folder):
            digest.update(part)
        if follow is not None:
            follow(0)
    if problems:
        shown = "; ".join(problems[:_SHOWN])
        raise InputError(
            f"{option} {root}: {len(problems)} of {len(folders)} cases cannot be used: {shown}; "
            f"`rba bench check {root}` names all"
        )
    _check_ids(option, facts)
    return CaseSet(root=Path(root), cases=facts, digest=digest.hexdigest(), whole=facts)


def batches(cases: Sequence[CaseFacts], size: int) -> Iterator[Sequence[CaseFacts]]:
    """Yield ``size`` cases at a time."""
    for start in range(0, len(cases), size):
        yield cases[start : start + size]


def _facts(case: Case, folder: Path, number: int) -> CaseFacts:
    truth = case.correspondence_mask
    share = None if truth is None else float(np.mean(truth_mask(truth)))
    return CaseFacts(
        number=number,
        folder=folder,
        id=case.id,
        task=case.task,
        object_name=object_name(case),
        size=(case.image.shape[0], case.image.shape[1]),
        artifact_share=float(case.artifact_mask.mean()),
        has_truth=case.truth is not None,
        truth_share=share or None,
    )


def _contents(folder: Path) -> Iterator[bytes]:
    """Yield name, size and bytes of every file of a case."""
    for path in sorted(folder.iterdir()):
        if path.is_file():
            content = path.read_bytes()
            yield f"{folder.name}/{path.name}\0{len(content)}\0".encode()
            yield content


def _check_ids(option: str, cases: Sequence[CaseFacts]) -> None:
    seen: dict[str, CaseFacts] = {}
    for case in cases:
        folded = case.id.casefold()  # one file on systems that fold case
        if case.id != Path(case.id).name or case.id.startswith(".") or "\\" in case.id:
            raise InputError(
                f"{option}: {case.folder} has the id {case.id!r}, which is no file name; set "
                "another"
            )
        if folded in seen:
            raise InputError(
                f"{option}: {case.folder} and {seen[folded].folder} have the same id {case.id!r}"
            )
        seen[folded] = case
