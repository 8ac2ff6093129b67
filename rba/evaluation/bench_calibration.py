"""Choose (t, l) on one split of a benchmark, for a table that is measured on another."""

import csv
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rba.batch import Batch
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.evaluation.calibration import case_batches
from rba.evaluation.case_set import CaseSet, batches
from rba.evaluation.grid_scores import FIGURES, GridScores, score_grid
from rba.evaluation.models import LazyModel
from rba.evaluation.result_files import write_json
from rba.inference.gamma_curves import draw_curves
from rba.inference.grid import GridSettings
from rba.inference.heatmap import draw_heatmap, heatmap
from rba.inference.request import RefinementSettings
from rba.pictures import write_png

GRID = "grid.json"


def half_split(cases: CaseSet, seed: int) -> tuple[CaseSet, CaseSet]:
    """Split a benchmark into two halves: to calibrate on, and to report on.

    Cases of one object stay together, and every task is halved. A pure function of the objects'
    names and the seed.

    Raises:
        InputError: If a half would hold no case, or the first none with a known region.
    """
    tasks: dict[str, str] = {}
    for case in cases.cases:
        tasks.setdefault(case.object_name, case.task)
    halves: tuple[set[str], set[str]] = (set(), set())
    turn = 0
    for task in sorted(set(tasks.values())):
        names = sorted(name for name, own in tasks.items() if own == task)
        for index in keyed_generator(seed, f"half-{task}", "evaluation", 0).permutation(len(names)):
            halves[turn].add(names[index])
            turn = 1 - turn
    first, second = (
        cases.part([case.number for case in cases.cases if case.object_name in half])
        for half in halves
    )
    if not first.cases or not second.cases:
        raise InputError(
            f"{cases.root} shows {len(tasks)} object and cannot be halved; give other cases to "
            "calibrate on with --calibrate-on"
        )
    require_regions(first, "--calibration-split half")
    return first, second


def require_regions(cases: CaseSet, option: str) -> None:
    """Refuse to calibrate where no case has a known region.

    Raises:
        InputError: In that case.
    """
    if all(case.truth_share is None for case in cases.cases):
        raise InputError(
            f"{option}: no case of {cases.root} has a correspondence.png with a region in it, and "
            "calibration needs the true region; leave the option out to use the model's own cell"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationRequest:
    """What the choice depends on.

    Attributes:
        cases: To calibrate on.
        option: The user's words for them.
        model: Whose attention it is.
        settings: Resolved for the model; where the map is read is what is looked for.
        steps: Sampler step indices to try.
    """

    cases: CaseSet
    option: str
    model: LazyModel
    settings: RefinementSettings
    steps: tuple[int, ...]

    def key(self) -> dict[str, Any]:
        """Return all of it as JSON."""
        numbers = dataclasses.asdict(self.settings)
        for name in ("sampler", "batch_size", "reencode_region"):
            del numbers[name]
        return json.loads(
            json.dumps(
                {
                    "option": self.option,
                    "bench": self.cases.digest,
                    "cases": [case.number for case in self.cases.cases],
                    "model": self.model.digest,
                    "settings": numbers,
                    "steps": self.steps,
                    "figures": FIGURES,
                }
            )
        )


def stored_choice(output: Path, request: CalibrationRequest) -> Mapping[str, Any] | None:
    """Return ``grid.json`` of an earlier start with the same request; None where there is none."""
    try:
        found: Any = json.loads((output / GRID).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("key") == request.key() else None


def calibrate_split(request: CalibrationRequest, output: Path) -> Mapping[str, Any]:
    """Fill Gamma, draw it, and write ``grid.*`` and ``curves.*``, ``grid.json`` last.

    Raises:
        InputError: If a step does not exist.
    """
    pipeline = request.model.open()
    scores = score_grid(
        pipeline.network,
        pipeline.scheduler,
        _batches(request),
        GridSettings(
            num_inference_steps=request.settings.alignment.num_inference_steps,
            steps=request.steps,
            region=request.settings.region,
            seed=request.settings.seed,
        ),
    )
    _draw(scores, output)
    content = scores.to_dict() | {
        "cases": [case.id for case in request.cases.cases],
        "option": request.option,
        "key": request.key(),
    }
    write_json(output / GRID, content)
    return content


def _batches(request: CalibrationRequest) -> Iterator[Batch]:
    known = [case for case in request.cases.cases if case.truth_share is not None]
    network, settings = request.model.open().network, request.settings
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds
    with tqdm(
        total=len(known), desc="calibrate", unit="case", mininterval=interval, dynamic_ncols=True
    ) as bar:
        for group in batches(known, settings.batch_size):
            yield from case_batches(
                network,
                [request.cases.read(facts) for facts in group],
                settings,
                numbers=[facts.number for facts in group],
            )
            bar.update(len(group))


def _draw(scores: GridScores, output: Path) -> None:
    calibration = scores.calibration
    write_png(output / "grid.png", heatmap(calibration))
    row, layer = scores.steps.index(calibration.best[0]), calibration.best[1]
    for name in FIGURES[1:]:
        means = scores.scores[:, FIGURES.index(name)].mean(axis=0)
        picture = draw_heatmap(
            means,
            columns=scores.steps,
            title=f"{name} over {calibration.num_cases} cases; framed: the cell of the best "
            f"iou_mask, {name} {means[row, layer]:.3f}",
            xlabel=f"sampler step of {scores.num_inference_steps} (0 = the noisiest)",
            framed=(row, layer),
            label=name,
        )
        write_png(output / f"grid_{name}.png", picture)
    write_png(output / "curves.png", draw_curves(calibration))
    rows = scores.curves()
    with (output / "curves.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
