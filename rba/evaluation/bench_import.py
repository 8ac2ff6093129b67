"""``rba bench import``: cases of a generator's output folder, or of one's own files by CSV."""

import collections
import dataclasses
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from rba.case import GENERATORS, TASKS
from rba.errors import InputError
from rba.evaluation.bench_check import case_faults
from rba.evaluation.benchmark import write_case
from rba.evaluation.importers.anydoor import find_anydoor
from rba.evaluation.importers.dreambooth import find_dreambooth
from rba.evaluation.importers.found import Found, ImportSettings, LeftOut
from rba.evaluation.importers.idm_vton import find_idm_vton
from rba.evaluation.importers.table import find_table
from rba.evaluation.importers.zero123plus import find_zero123plus

_FINDERS: dict[str, Callable[[ImportSettings], Iterator[Found | LeftOut]]] = {
    "dreambooth": find_dreambooth,
    "zero123plus": find_zero123plus,
    "anydoor": find_anydoor,
    "idm_vton": find_idm_vton,
    "csv": find_table,
}
_WROTE = dict(zip(_FINDERS, zip(TASKS, GENERATORS, strict=True), strict=False))
_ONLY_FOR = {"pairs": ("idm_vton",), "first_panel": ("anydoor",)}
_NOT_FOR_CSV = ("references", "masks")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        source: The generator's output folder, or a CSV file.
        kind: One of ``dreambooth zero123plus anydoor idm_vton csv``.
        output: Folder of cases, new or not.
        references: See `ImportSettings`.
        masks: See `ImportSettings`.
        pairs: See `ImportSettings`.
        first_panel: See `ImportSettings`.
        task: See `ImportSettings`.
        generator: See `ImportSettings`.
    """

    source: str
    kind: str
    output: str
    references: str | None = None
    masks: str | None = None
    pairs: str | None = None
    first_panel: str | None = None
    task: str | None = None
    generator: str | None = None


def run_import(command: ImportCommand) -> None:
    """Find the files of all cases, write the cases, and name what was left out.

    Raises:
        InputError: For every mistake in paths and options and where files do not say which belongs
            to which, before anything is written; and if no case could be made.
    """
    settings = _settings(command)
    found = [_told(entry, command) for entry in _FINDERS[command.kind](settings)]
    if not found:
        raise InputError(f"{settings.source} holds no picture; give the folder that holds them")
    output = Path(command.output)
    output.mkdir(parents=True, exist_ok=True)
    left_out = write_found(found, output)
    print(_report(len(found) - len(left_out), left_out, output))
    if len(left_out) == len(found):
        raise InputError(f"no case could be made of {settings.source}; the reasons are above")


def write_found(found: Sequence[Found | LeftOut], output: Path) -> list[LeftOut]:
    """Write a case of each find, whole or not at all.

    Returns:
        What was left out, and why.
    """
    left_out: list[LeftOut] = []
    names = {path.name.casefold(): "the folder from before" for path in output.iterdir()}
    for entry in tqdm(found, unit="case", disable=None):
        if isinstance(entry, LeftOut):
            left_out.append(entry)
            continue
        if entry.id.casefold() in names:
            reason = f"its id is taken by {names[entry.id.casefold()]}; delete it, or rename one"
            left_out.append(LeftOut(name=entry.id, reason=reason))
            continue
        problem = _write(entry, output)
        if problem is None:
            names[entry.id.casefold()] = entry.image.path.name
        else:
            left_out.append(LeftOut(name=entry.id, reason=problem))
    return left_out


def _write(entry: Found, output: Path) -> str | None:
    """Write one case under another name first; return why not."""
    try:
        case = entry.read()
    except InputError as error:
        return str(error)
    for fault in case_faults(case):
        return fault
    aside = output / f".{case.id}.part"
    shutil.rmtree(aside, ignore_errors=True)
    write_case(aside, case)
    aside.rename(output / case.id)
    return None


def _settings(command: ImportCommand) -> ImportSettings:
    for option, kinds in _ONLY_FOR.items():
        if getattr(command, option) is not None and command.kind not in kinds:
            name = option.replace("_", "-")
            raise InputError(f"--{name} is for --from {' or '.join(kinds)}; leave it out")
    for option in _NOT_FOR_CSV:
        if command.kind == "csv" and getattr(command, option) is not None:
            raise InputError(f"--{option} and --from csv contradict each other; the table has it")
    source = Path(command.source)
    if command.kind == "csv" and not source.is_file():
        raise InputError(f"{source} is not a file; give a CSV table")
    if command.kind != "csv" and not source.is_dir():
        raise InputError(f"{source} is not a folder; give the output folder of {command.kind}")
    for option, value in (("references", command.references), ("masks", command.masks)):
        if value is not None and not Path(value).is_dir():
            raise InputError(f"--{option} {value} is not a folder; give a folder of pictures")
    return ImportSettings(
        source=source,
        references=None if command.references is None else Path(command.references),
        masks=None if command.masks is None else Path(command.masks),
        pairs=command.pairs,
        first_panel=command.first_panel,
    )


def _told(entry: Found | LeftOut, command: ImportCommand) -> Found | LeftOut:
    """Set task and generator: a table's cell, else as the user says, else the generator's own."""
    if isinstance(entry, LeftOut):
        return entry
    if command.kind == "csv":
        return dataclasses.replace(
            entry,
            task=entry.task or command.task or "unknown",
            generator=entry.generator or command.generator or "unknown",
        )
    task, generator = _WROTE[command.kind]
    return dataclasses.replace(
        entry,
        id=f"{command.kind}-{entry.id}",
        task=command.task or task,
        generator=command.generator or generator,
    )


def _report(written: int, left_out: Sequence[LeftOut], output: Path) -> str:
    lines = [f"wrote {written} cases into {output}"]
    reasons: dict[str, list[str]] = collections.defaultdict(list)
    for entry in left_out:
        reasons[entry.reason].append(entry.name)
    if left_out:
        lines.append(f"left out: {len(left_out)}")
    for reason, names in reasons.items():
        lines += [f"  {len(names)} x {reason}", *(f"      {name}" for name in names)]
    return "\n".join(lines)
