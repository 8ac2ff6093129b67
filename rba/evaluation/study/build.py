"""``rba study build``: a page that opens without a server, and the key to it."""

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from rba.errors import InputError
from rba.evaluation.benchmark import case_folders, read_benchmark
from rba.evaluation.study.pictures import CaseShown, store_case
from rba.evaluation.study.plan import Plan, PlanSettings, Question, check_settings, make_plan

SCHEMA = 1
_PAGE = Path(__file__).resolve().parents[2] / "assets" / "study"
_NAME = re.compile(r"[\w.+-]+")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        bench: Folder of cases.
        results: ``NAME=DIR``, a folder of ``CASE_ID.png`` each, two or more.
        output: New folder: ``page`` for the raters, ``key.json`` for nobody else.
        raters: See `PlanSettings`.
        questions: See `PlanSettings`.
        checks: See `PlanSettings`.
        at_once: Methods shown at once; ``all`` for all.
        frame: Show a frame around the artifact mask on every picture.
        post: Address that the answers are posted to as JSON; None = download only.
        seed: Keys order, sides and names.
    """

    bench: str
    results: Sequence[str]
    output: str
    raters: int = 24
    questions: int | None = None
    checks: int = 2
    at_once: str = "2"
    frame: bool = False
    post: str | None = None
    seed: int = 0


def run_build(command: BuildCommand) -> None:
    """Write page and key.

    Raises:
        InputError: For every mistake in options, and where pictures are missing or do not fit.
    """
    output = Path(command.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output} is there already; give a new folder")
    if command.post is not None and not re.match(r"https?://\S+$", command.post):
        raise InputError(f"--post {command.post}; give an address that begins with https://")
    if command.at_once != "all" and not command.at_once.isdecimal():
        raise InputError(f"--at-once {command.at_once}; give a number, or all")
    results = parse_results(command.results)
    settings = PlanSettings(
        seed=command.seed,
        raters=command.raters,
        questions=command.questions,
        checks=command.checks,
        at_once=None if command.at_once == "all" else int(command.at_once),
    )
    check_settings(settings, len(results))
    images = output / "page" / "images"
    images.mkdir(parents=True)
    try:
        shown = _store_cases(command, results, images, settings)
        plan = make_plan(list(results), {name: c.digests for name, c in shown.items()}, settings)
        missing = _missing(shown, results)
        key = _write_page(command, plan, shown, output / "page")
    except BaseException:
        shutil.rmtree(output)  # it was made above
        raise
    text = json.dumps(key, indent=1, sort_keys=True) + "\n"
    (output / "key.json").write_text(text, encoding="utf-8")
    print(_report(command, plan, missing, output))


def parse_results(texts: Sequence[str]) -> dict[str, Path]:
    """Read ``NAME=DIR`` options.

    Raises:
        InputError: If one is something else, a name comes twice, or a folder is missing.
    """
    results: dict[str, Path] = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not _NAME.fullmatch(name) or not folder:
            raise InputError(f"--results {text}; give NAME=DIR, a name of letters and digits")
        if name in results:
            raise InputError(f"--results {text}: the name {name} comes twice; give another")
        if not Path(folder).is_dir():
            raise InputError(f"--results {text}: {folder} is not a folder of CASE_ID.png")
        results[name] = Path(folder)
    return results


def _store_cases(
    command: BuildCommand, results: Mapping[str, Path], images: Path, settings: PlanSettings
) -> dict[str, CaseShown]:
    mixed = (settings.at_once or len(results)) - 1
    total = len(case_folders(command.bench))
    cases = tqdm(read_benchmark(command.bench), total=total, unit="case", disable=None)
    return {
        case.id: store_case(case, results, images, seed=command.seed, num_mixed=mixed)
        for case in cases
    }


def _write_page(
    command: BuildCommand, plan: Plan, shown: Mapping[str, CaseShown], page: Path
) -> dict[str, object]:
    """Write everything that raters get, and return what they do not: the key."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted((page / "images").iterdir()):
        digest.update(path.name.encode())
    digest.update(repr((plan.settings, plan.questions)).encode())
    study = digest.hexdigest()
    sheets: list[list[dict[str, object]]] = []
    questions: dict[str, object] = {}
    used: set[str] = set()
    for rater in range(1, command.raters + 1):
        sheet: list[dict[str, object]] = []
        for number, question in enumerate(plan.of_rater(rater)):
            name = hashlib.blake2b(f"{study}/{rater}/{number}".encode(), digest_size=6).hexdigest()
            case = shown[question.case]
            entry = _page_entry(name, question, case, frame=command.frame)
            sheet.append(entry)
            used.update(entry["images"], (case.reference,))  # pyright: ignore
            questions[name] = {"rater": rater} | _key_entry(question, case)
        sheets.append(sheet)
    for path in (page / "images").iterdir():
        if path.name not in used:
            path.unlink()
    for file in ("index.html", "study.css", "study.js"):
        shutil.copyfile(_PAGE / file, page / file)
    data = {"study": study, "post": command.post, "plan": sheets}
    (page / "study-data.js").write_text(f"window.STUDY = {json.dumps(data)};\n", encoding="utf-8")
    return {
        "schema": SCHEMA,
        "study": study,
        "bench": Path(command.bench).resolve().name,
        "methods": list(dict.fromkeys(method for group in plan.groups for method in group)),
        "settings": dataclasses.asdict(plan.settings) | {"questions": plan.questions},
        "questions": questions,
    }


def _page_entry(
    name: str, question: Question, case: CaseShown, *, frame: bool
) -> dict[str, object]:
    mixed = iter(case.mixed)
    return {
        "id": name,
        "section": question.section,
        "images": [
            next(mixed) if method is None else case.methods[method] for method in question.shown
        ],
        "reference": case.reference if question.section == "fidelity" else None,
        "box": case.box if frame else None,
    }


def _key_entry(question: Question, case: CaseShown) -> dict[str, object]:
    return {
        "section": question.section,
        "case": question.case,
        "task": case.task,
        "generator": case.generator,
        "shown": question.shown,
        "right": question.right,
    }


def _missing(shown: Mapping[str, CaseShown], results: Mapping[str, Path]) -> dict[str, int]:
    """Count the cases for which a method has no picture."""
    return {
        method: number
        for method in results
        if (number := sum(method not in case.methods for case in shown.values()))
    }


def _report(command: BuildCommand, plan: Plan, missing: Mapping[str, int], output: Path) -> str:
    lines = [f"{method}: {number} cases have no picture" for method, number in missing.items()]
    every = max(map(len, plan.groups.values()))
    for group, cases in plan.groups.items():
        if len(cases) < every:
            lines.append(f"{' and '.join(group)}: compared on {len(cases)} cases, not {every}")
    total = len(plan.of_rater(1))
    return "\n".join(
        [
            *lines,
            f"{command.raters} raters, {total} questions each, {len(plan.groups)} comparisons",
            f"wrote {output}/page (give it away; the first rater opens index.html?rater=1)",
            f"wrote {output}/key.json (keep it: it says which picture is whose)",
        ]
    )
