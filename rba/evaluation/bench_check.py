"""``rba bench check``: every broken case of a folder with the way out, and what the others hold."""

import collections
import dataclasses
import hashlib
import statistics
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rba.case import TASKS, Case
from rba.errors import InputError
from rba.evaluation.benchmark import FACTS, is_case_file, read_case

_TOO_LARGE = 0.5  # share of the image above which a mask is probably inverted


@dataclasses.dataclass(kw_only=True)
class BenchSummary:
    """What a folder of cases holds.

    Attributes:
        problems: A line for each folder that cannot be used; empty = all is well.
        remarks: A line for what can be used and looks like a mistake.
        cases: Number of usable cases.
        tasks: Cases by task.
        generators: Cases by generator.
        parts: Cases by the optional thing that they hold.
        artifact_areas: A usable case's mask as a share of its image.
        truth_areas: Where the match is known, the truth (``correspondence >= 0.5``) as a share of
            the first reference.
    """

    problems: list[str] = dataclasses.field(default_factory=list)
    remarks: list[str] = dataclasses.field(default_factory=list)
    cases: int = 0
    tasks: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    generators: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    parts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    artifact_areas: list[float] = dataclasses.field(default_factory=list)
    truth_areas: list[float] = dataclasses.field(default_factory=list)


def run_check(root: str | Path) -> None:
    """Check a folder of cases and print what was found.

    Raises:
        InputError: If the folder is missing or holds no folder.
        SystemExit: With status 1 if a case is broken.
    """
    summary = check_benchmark(root)
    print(summary_text(summary, Path(root)))
    if summary.problems:
        raise SystemExit(1)


def check_benchmark(root: str | Path) -> BenchSummary:
    """Read every case of a folder, one after another.

    Raises:
        InputError: If the folder is missing or holds no folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a folder that holds case folders")
    folders = sorted(path for path in root.iterdir() if _is_candidate(path))
    if not folders:
        raise InputError(f"{root} holds no case; expected folders with image.png and {FACTS}")
    summary = BenchSummary()
    names: dict[str, str] = {}
    pictures: dict[bytes, str] = {}
    for folder in folders:
        try:
            case = read_case(folder)
        except InputError as error:
            summary.problems.append(f"{folder.name}: {error}")
            continue
        problems = [*case_faults(case), *_taken(case, folder.name, names, pictures)]
        summary.problems += [f"{folder.name}: {problem}" for problem in problems]
        summary.remarks += [f"{folder.name}: {remark}" for remark in _remarks(case, folder)]
        if not problems:
            _count(summary, case)
    return summary


def summary_text(summary: BenchSummary, root: Path) -> str:
    """Lay out what `check_benchmark` found, the broken cases last."""
    lines = [f"{root}: {summary.cases} usable cases"]
    if summary.cases:
        counts = [
            ("task", summary.tasks),
            ("generator", summary.generators),
            ("with", summary.parts),
        ]
        for title, counter in counts:
            rows = [(title, "cases"), *sorted(counter.items())]
            lines += ["", *(f"{name:<24}{number:>6}" for name, number in rows)] if counter else []
        lines += ["", f"artifact area, median: {_share(summary.artifact_areas)} of the image"]
        if summary.truth_areas:
            lines.append(f"true region, median: {_share(summary.truth_areas)} of the reference")
    for title, found in (("remarks", summary.remarks), ("broken", summary.problems)):
        lines += ["", f"{title}: {len(found)}", *(f"  {line}" for line in found)] if found else []
    if not summary.problems:
        lines += ["", "no case is broken"]
    return "\n".join(lines)


def case_faults(case: Case) -> Iterator[str]:
    """Say what the form of a benchmark forbids, and `Case` alone does not."""
    if case.id != Path(case.id).name or case.id.startswith(".") or "\\" in case.id:
        yield f"id {case.id!r} is no file name, and results are called after it; set another id"
    match = case.correspondence_mask
    if match is not None and not (match >= 0.5).any():
        yield "correspondence.png marks nothing; paint the matching region white, or delete it"
    for index, mask in enumerate(case.reference_masks):
        if mask is not None and not mask.any():
            yield f"the object mask of reference {index} marks nothing; paint it, or delete it"


def _is_candidate(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _taken(
    case: Case, name: str, names: dict[str, str], pictures: dict[bytes, str]
) -> Iterator[str]:
    """Say whether the id, or picture and mask together, were there before."""
    folded = case.id.casefold()  # one file on systems that fold case
    if folded in names:
        yield f"id {case.id!r} is taken by {names[folded]}; set another id in {FACTS}"
    names.setdefault(folded, name)
    digest = hashlib.sha256(repr(case.image.shape).encode())
    digest.update(case.image.tobytes())
    digest.update(case.artifact_mask.tobytes())
    key = digest.digest()
    if key in pictures:
        yield f"image and mask are those of {pictures[key]}; delete one of the two"
    pictures.setdefault(key, name)


def _remarks(case: Case, folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and not is_case_file(path.name):
            yield f"{path.name} is not read; rename it as docs/benchmark.md says, or delete it"
    if case.task not in TASKS:
        yield f"task {case.task!r} is none of {', '.join(TASKS)}; it becomes a row of its own"
    area = float(case.artifact_mask.mean())
    if area > _TOO_LARGE:
        yield f"the mask covers {area:.0%} of the image; white must be the defect"
    if case.truth is not None and np.array_equal(
        case.truth[case.artifact_mask], case.image[case.artifact_mask]
    ):
        yield "truth.png equals image.png under the mask: there is no defect to mend"


def _count(summary: BenchSummary, case: Case) -> None:
    summary.cases += 1
    summary.tasks[case.task] += 1
    summary.generators[case.generator] += 1
    summary.artifact_areas.append(float(case.artifact_mask.mean()))
    if case.correspondence_mask is not None:
        summary.truth_areas.append(float((case.correspondence_mask >= 0.5).mean()))
    held = {
        "clean truth": case.truth is not None,
        "correspondence mask": case.correspondence_mask is not None,
        "object mask": any(mask is not None for mask in case.reference_masks),
        "several references": len(case.references) > 1,
    }
    summary.parts.update(part for part, present in held.items() if present)


def _share(areas: list[float]) -> str:
    return f"{statistics.median(areas):.2%}"
