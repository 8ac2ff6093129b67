"""Cases on disk, in GenArtifactBench's form: a folder a case (``docs/benchmark.md``).

``image.png mask.png reference*.png case.json``, optional ``truth.png correspondence.png
reference_mask*.png``. The references are taken in the order of their names; the object mask of
``reference_01.png`` is ``reference_mask_01.png``. ``correspondence.png`` lies on the first one.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rba.case import Case
from rba.errors import InputError
from rba.pictures import read_image, read_mask, write_png

FACTS = "case.json"
_KNOWN_FACTS = frozenset({"id", "task", "generator", "metadata"})
_FILES = frozenset({"image.png", "mask.png", "truth.png", "correspondence.png", FACTS})


def write_case(folder: str | Path, case: Case) -> None:
    """Write one case; the folder is made. Pictures are PNG, so reading gives them back exactly.

    ``case.json`` comes last: a folder without it was not written whole.

    Args:
        folder: Where; an earlier case in it is replaced.
        case: Its soft correspondence mask is kept to 1/255.

    Raises:
        InputError: If nowhere in the correspondence mask is more than 1/255.
    """
    folder = Path(folder)
    soft = None
    if case.correspondence_mask is not None:
        soft = np.rint(case.correspondence_mask * 255).astype(np.uint8)
        if soft.max() <= 1:  # would be read as a mask of labels 0 and 1
            raise InputError(f"case {case.id}: the correspondence mask is empty; leave it out")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder / FACTS, *folder.iterdir()):
        if is_case_file(path.name):
            path.unlink(missing_ok=True)
    write_png(folder / "image.png", case.image)
    write_png(folder / "mask.png", case.artifact_mask)
    digits = max(2, len(str(len(case.references) - 1)))
    for index, (reference, mask) in enumerate(
        zip(case.references, case.reference_masks, strict=True)
    ):
        suffix = "" if len(case.references) == 1 else f"_{index:0{digits}d}"
        write_png(folder / f"reference{suffix}.png", reference)
        if mask is not None:
            write_png(folder / f"reference_mask{suffix}.png", mask)
    if case.truth is not None:
        write_png(folder / "truth.png", case.truth)
    if soft is not None:
        write_png(folder / "correspondence.png", soft)
    facts = {
        "id": case.id,
        "task": case.task,
        "generator": case.generator,
        "metadata": dict(case.metadata),
    }
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / FACTS).write_text(text, encoding="utf-8")


def read_case(folder: str | Path) -> Case:
    """Read and check one case.

    Raises:
        InputError: If a file is missing or unreadable, sizes disagree, a mask is empty, or
            ``case.json`` is not what it should be. The message names the file.
    """
    folder = Path(folder)
    facts = _read_facts(folder / FACTS)
    references = [
        path for path in sorted(folder.glob("reference*.png")) if not _is_object_mask(path)
    ]
    if not references:
        raise InputError(f"{folder} holds no reference*.png; a case needs at least one")
    _check_object_masks(folder, references)
    truth, correspondence = folder / "truth.png", folder / "correspondence.png"
    return Case(
        id=facts.get("id", folder.name),
        image=read_image(folder / "image.png"),
        artifact_mask=read_mask(folder / "mask.png"),
        references=tuple(read_image(path) for path in references),
        reference_masks=tuple(_read_object_mask(path) for path in references),
        truth=read_image(truth) if truth.is_file() else None,
        correspondence_mask=_read_soft_mask(correspondence) if correspondence.is_file() else None,
        task=facts.get("task", "unknown"),
        generator=facts.get("generator", "unknown"),
        metadata=facts.get("metadata", {}),
    )


def case_folders(root: str | Path) -> list[Path]:
    """List the case folders of a benchmark, sorted by name.

    Raises:
        InputError: If the folder is missing or holds no case.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root} is not a folder; give a folder that holds case folders")
    folders = sorted(path.parent for path in root.glob(f"*/{FACTS}"))
    if not folders:
        raise InputError(f"{root} holds no case; expected folders with image.png and {FACTS}")
    return folders


def read_benchmark(root: str | Path) -> Iterator[Case]:
    """Read the cases of a benchmark one after another, in the order of their folders.

    Raises:
        InputError: If the folder holds no case, a case is broken, or two have the same id.
    """
    seen: dict[str, Path] = {}
    for folder in case_folders(root):
        case = read_case(folder)
        if case.id in seen:
            raise InputError(f"{folder} and {seen[case.id]} have the same id {case.id!r}")
        seen[case.id] = folder
        yield case


def is_case_file(name: str) -> bool:
    """Return whether a file of this name in a case's folder is read."""
    return name in _FILES or (name.startswith("reference") and name.endswith(".png"))


def _is_object_mask(path: Path) -> bool:
    return path.name.startswith("reference_mask")


def _object_mask_path(reference: Path) -> Path:
    return reference.with_name(reference.name.replace("reference", "reference_mask", 1))


def _read_object_mask(reference: Path) -> np.ndarray | None:
    path = _object_mask_path(reference)
    return read_mask(path) if path.is_file() else None


def _check_object_masks(folder: Path, references: list[Path]) -> None:
    expected = {_object_mask_path(path) for path in references}
    for path in sorted(folder.glob("reference_mask*.png")):
        if path not in expected:
            raise InputError(
                f"{path} belongs to no reference; name it after one: "
                f"{', '.join(sorted(p.name for p in expected))}"
            )


def _read_soft_mask(path: Path) -> np.ndarray:
    grey = read_image(path)[..., 0].astype(np.float32)
    return grey if grey.max() <= 1.0 else grey / 255.0


def _read_facts(path: Path) -> dict[str, Any]:
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; a case needs it, {{}} is enough") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("metadata", {}), dict):
        raise InputError(f"{path} must hold an object, and metadata in it another")
    unknown = set(facts) - _KNOWN_FACTS
    if unknown:
        raise InputError(
            f"{path} has unknown keys {sorted(unknown)}; known are {sorted(_KNOWN_FACTS)}, put "
            "anything else under metadata"
        )
    for name in sorted(set(facts) - {"metadata"}):
        if not isinstance(facts[name], str) or not facts[name]:
            raise InputError(f"{path}: {name} is {facts[name]!r}; give a text")
    return facts
