"""``rba study analyze``: preference rates with intervals, agreement, tests with correction."""

import collections
import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from rba.errors import InputError
from rba.evaluation.study.answers import Answers, Key, read_answers, read_key
from rba.evaluation.study.plan import SECTIONS
from rba.evaluation.study.summary import summary_lines
from rba.evaluation.table import write_csv
from rba.inference.command import make_folder
from rba.metrics.agreement import nominal_alpha
from rba.metrics.bootstrap import Interval, paired_interval
from rba.metrics.proportions import even_odds_p, holm, wilson_interval

POOLED = "pooled"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalyzeCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        answers: JSON files, or folders of them.
        key: ``key.json`` of the study.
        output: Folder for ``study.json``, ``study.md``, ``answers.csv``.
        allowed_failures: Failed attention checks that a rater may have.
        seed: Of the bootstrap.
    """

    answers: Sequence[str]
    key: str
    output: str
    allowed_failures: int = 0
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """One answer that counts.

    Attributes:
        rater: Whose.
        section: See `Question`.
        case: The case's id.
        task: The case's task.
        generator: The case's generator.
        shown: The methods in the order in which they stood.
        chosen: The method.
        seconds: Time from the picture to the choice.
    """

    rater: int
    section: str
    case: str
    task: str
    generator: str
    shown: tuple[str, ...]
    chosen: str
    seconds: float


def run_analyze(command: AnalyzeCommand) -> None:
    """Read, count, test, write, and print the tables.

    Raises:
        InputError: If key or answers are missing, or no rater is left.
    """
    if command.allowed_failures < 0:
        raise InputError(f"--allowed-failures {command.allowed_failures}; give 0 or more")
    key = read_key(command.key)
    answers = read_answers(command.answers, key, allowed_failures=command.allowed_failures)
    choices = list(choices_of(answers, key))
    if not choices:
        raise InputError(
            f"no rater is left: {'; '.join(answers.excluded + answers.broken)}; collect more, or "
            "see --allowed-failures"
        )
    make_folder(Path(command.output), "--output")
    output = Path(command.output)
    report = analyze(choices, key.methods, seed=command.seed)
    report["raters"] = {
        "counted": len(answers.sheets),
        "excluded": answers.excluded,
        "repeated": answers.repeated,
        "broken": answers.broken,
    }
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    (output / "study.json").write_text(text, encoding="utf-8")
    rows = [dataclasses.asdict(choice) | {"shown": " ".join(choice.shown)} for choice in choices]
    write_csv(output / "answers.csv", rows)
    lines = summary_lines(report)
    (output / "study.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"\nwrote {output}/study.json, study.md, answers.csv")


def choices_of(answers: Answers, key: Key) -> Iterable[Choice]:
    """Yield what the raters chose, without the attention checks."""
    for sheet in answers.sheets:
        for name, place in sheet.choices.items():
            question = key.questions[name]
            if question.right is not None:
                continue
            shown = tuple(str(method) for method in question.shown)
            yield Choice(
                rater=sheet.rater,
                section=question.section,
                case=question.case,
                task=question.task,
                generator=question.generator,
                shown=shown,
                chosen=shown[place],
                seconds=sheet.seconds[name],
            )


def analyze(choices: Sequence[Choice], methods: Sequence[str], *, seed: int) -> dict[str, object]:
    """Count and test, section by section, over all tasks and for each.

    The tests of a section over all tasks are one family for Holm's correction, those of its single
    tasks another.

    Returns:
        ``sections[SECTION][SCOPE]``, the scope ``pooled`` or a task: ``methods`` (how often one was
        chosen where it was shown), ``pairs`` (of two methods that were both shown the one that
        was chosen) and ``agreement``. None = not defined.
    """
    sections: dict[str, object] = {}
    for section in SECTIONS:
        own = [choice for choice in choices if choice.section == section]
        tasks = sorted({choice.task for choice in own})
        scopes = {POOLED: own} | {
            task: [choice for choice in own if choice.task == task] for task in tasks
        }
        found = {name: _scope(part, methods, seed) for name, part in scopes.items()}
        for family in ([POOLED], tasks):
            pairs = [pair for name in family for pair in found[name]["pairs"]]
            for pair, p in zip(pairs, holm([pair["p"] for pair in pairs]), strict=True):
                pair["p_holm"] = p
        sections[section] = found
    return {"schema": 1, "methods": list(methods), "sections": sections}


def _scope(choices: Sequence[Choice], methods: Sequence[str], seed: int) -> dict[str, list | dict]:
    return {
        "methods": {name: _rate(choices, name, seed) for name in methods},
        "pairs": [_pair(choices, *names) for names in itertools.combinations(methods, 2)],
        "agreement": _agreement(choices),
    }


def _rate(choices: Sequence[Choice], method: str, seed: int) -> dict[str, object]:
    """Return how often a method was chosen where it was shown."""
    raters = sorted({choice.rater for choice in choices})
    shown = collections.Counter(choice.rater for choice in choices if method in choice.shown)
    chosen = collections.Counter(choice.rater for choice in choices if choice.chosen == method)
    wilson = wilson_interval(chosen.total(), shown.total())
    resampled = paired_interval(
        [chosen[rater] for rater in raters], [shown[rater] for rater in raters], "ratio", seed=seed
    )
    return {
        "chosen": chosen.total(),
        "shown": shown.total(),
        "rate": _number(wilson.value),
        "wilson": _bounds(wilson),
        "bootstrap_over_raters": _bounds(resampled),
    }


def _pair(choices: Sequence[Choice], first: str, second: str) -> dict[str, object]:
    both = [choice for choice in choices if {first, second} <= {*choice.shown}]
    wins = [sum(choice.chosen == name for choice in both) for name in (first, second)]
    share = wilson_interval(wins[0], sum(wins))
    return {
        "first": first,
        "second": second,
        "first_chosen": wins[0],
        "second_chosen": wins[1],
        "rate": _number(share.value),
        "wilson": _bounds(share),
        "p": even_odds_p(*wins),
    }


def _agreement(choices: Sequence[Choice]) -> dict[str, object]:
    """Return Krippendorff's alpha over what several raters were asked."""
    units: dict[tuple[str, frozenset[str]], list[str]] = collections.defaultdict(list)
    for choice in choices:
        units[choice.case, frozenset(choice.shown)].append(choice.chosen)
    shared = [values for values in units.values() if len(values) > 1]
    return {
        "krippendorff_alpha": nominal_alpha(shared),
        "units": len(shared),
        "ratings": sum(map(len, shared)),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _bounds(interval: Interval) -> list[float | None]:
    return [_number(interval.low), _number(interval.high)]
