"""Answer files of a user study: read, checked against the key, one a rater."""

import collections
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.evaluation.study.build import SCHEMA


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeyQuestion:
    """What a question was, see `Question`; ``rater`` is whom it was put to."""

    rater: int
    section: str
    case: str
    task: str
    generator: str
    shown: tuple[str | None, ...]
    right: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
    """The key of a study.

    Attributes:
        study: Its id.
        methods: Names of what was compared.
        questions: By id.
    """

    study: str
    methods: tuple[str, ...]
    questions: Mapping[str, KeyQuestion]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sheet:
    """One rater's answers.

    Attributes:
        file: Where they come from.
        rater: The rater's number.
        session: Random name of the browser's session.
        started: ISO 8601.
        choices: Place of the chosen picture by question.
        seconds: Time by question.
    """

    file: str
    rater: int
    session: str
    started: str
    choices: Mapping[str, int]
    seconds: Mapping[str, float]


@dataclasses.dataclass(kw_only=True)
class Answers:
    """What was read.

    Attributes:
        sheets: One a rater, in the order of their numbers.
        broken: A line for each file that cannot be used.
        repeated: A line for each file whose rater is there already.
        excluded: A line for each rater who is left out for failed checks.
    """

    sheets: list[Sheet]
    broken: list[str]
    repeated: list[str]
    excluded: list[str]


def read_key(path: str | Path) -> Key:
    """Read ``key.json``.

    Raises:
        InputError: If it is missing or no key.
    """
    facts = _read_json(Path(path))
    if facts.get("schema") != SCHEMA or not isinstance(facts.get("questions"), dict):
        raise InputError(f"{path} is no key of a study; give the key.json of `rba study build`")
    try:
        questions = {
            name: KeyQuestion(**(entry | {"shown": tuple(entry["shown"])}))
            for name, entry in facts["questions"].items()
        }
        return Key(study=str(facts["study"]), methods=tuple(facts["methods"]), questions=questions)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no whole key of a study: {error}") from error


def read_answers(paths: Sequence[str | Path], key: Key, *, allowed_failures: int) -> Answers:
    """Read all answer files.

    A file that cannot be used is named and left out. Of several files of one session the one with
    the most answers counts; a second session under a rater's number is left out. A rater who failed
    more attention checks than allowed, or saw none while the study has some, is left out.

    Args:
        paths: Files, or folders whose ``*.json`` are read.
        key: Of the study.
        allowed_failures: Failed checks that a rater may have.

    Raises:
        InputError: If a path is missing, or no file can be used.
    """
    read = Answers(sheets=[], broken=[], repeated=[], excluded=[])
    sheets: list[Sheet] = []
    for path in _files(paths):
        try:
            sheets.append(_read_sheet(path, key))
        except InputError as error:
            read.broken.append(str(error))
    if not sheets:
        raise InputError(f"no answers can be used: {'; '.join(read.broken)}")
    for sheet in _one_a_rater(sheets, read.repeated):
        reason = _failed(sheet, key, allowed_failures)
        if reason is None:
            read.sheets.append(sheet)
        else:
            read.excluded.append(f"rater {sheet.rater} ({sheet.file}): {reason}")
    return read


def _files(paths: Iterable[str | Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for path in map(Path, paths):
        found = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not found or not all(file.is_file() for file in found):
            raise InputError(f"{path} holds no answers; give JSON files, or a folder of them")
        files |= dict.fromkeys(found)
    return list(files)


def _read_sheet(path: Path, key: Key) -> Sheet:
    facts = _read_json(path)
    if facts.get("schema") != SCHEMA or "answers" not in facts:
        raise InputError(f"{path} holds no answers of a study")
    if facts.get("study") != key.study:
        raise InputError(f"{path} is of study {facts.get('study')}, the key of {key.study}")
    rater, answers = facts.get("rater"), facts["answers"]
    if not isinstance(rater, int) or not isinstance(answers, list):
        raise InputError(f"{path}: rater {rater!r} is no number, or answers no list")
    choices: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for answer in answers:
        name, choice, taken = _check_answer(path, answer, rater, key)
        choices[name], seconds[name] = choice, taken  # the last one counts
    return Sheet(
        file=path.name,
        rater=rater,
        session=str(facts.get("session")),
        started=str(facts.get("started")),
        choices=choices,
        seconds=seconds,
    )


def _check_answer(path: Path, answer: Any, rater: int, key: Key) -> tuple[str, int, float]:
    if not isinstance(answer, dict):
        raise InputError(f"{path}: {answer!r} is no answer")
    name, choice, seconds = (answer.get(field) for field in ("question", "choice", "seconds"))
    question = key.questions.get(name) if isinstance(name, str) else None
    if question is None or question.rater != rater:
        raise InputError(f"{path}: question {name!r} was not put to rater {rater}")
    if type(choice) is not int or not 0 <= choice < len(question.shown):
        raise InputError(f"{path}: choice {choice!r} of question {name}; there is no such picture")
    if not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise InputError(f"{path}: seconds {seconds!r} of question {name} are no time")
    assert isinstance(name, str)
    return name, choice, float(seconds)


def _one_a_rater(sheets: Iterable[Sheet], repeated: list[str]) -> list[Sheet]:
    by_rater: dict[int, list[Sheet]] = collections.defaultdict(list)
    for sheet in sheets:
        by_rater[sheet.rater].append(sheet)
    kept: list[Sheet] = []
    for rater in sorted(by_rater):
        # The session that began first; of it the fullest file, the first of equally full ones.
        session = min(by_rater[rater], key=lambda sheet: sheet.started).session
        own = [sheet for sheet in by_rater[rater] if sheet.session == session]
        best = max(own, key=lambda sheet: len(sheet.choices))
        kept.append(best)
        for sheet in by_rater[rater]:
            if sheet is not best:
                what = "a copy" if sheet.session == session else "a second session"
                repeated.append(f"{sheet.file}: {what} of rater {rater}, whose {best.file} counts")
    return kept


def _failed(sheet: Sheet, key: Key, allowed: int) -> str | None:
    """Say why a rater cannot be trusted; None = no reason."""
    checks = {
        name: question.right
        for name, question in key.questions.items()
        if question.rater == sheet.rater and question.right is not None
    }
    seen = [name for name in checks if name in sheet.choices]
    failed = sum(sheet.choices[name] != checks[name] for name in seen)
    if failed > allowed:
        return f"failed {failed} of {len(seen)} attention checks"
    if checks and not seen:
        return "answered no attention check"
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a JSON file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path} holds no JSON object")
    return facts
