"""How far methods hold when one thing is made harder: sweeps over rendered cases. [0] A.9."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rba.errors import InputError
from rba.evaluation.methods import FALLBACK, Method, MethodResult
from rba.evaluation.scoring import Metric
from rba.evaluation.sweep_cases import Condition, SweepCase, SweepRenderer
from rba.metrics.bootstrap import mean_interval

METRICS = ("iou_mask", "hit", "psnr_hole_db")
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One value of one sweep.

    Attributes:
        sweep: What is varied, a field of `Condition`.
        value: Its value.
        condition: All values.
    """

    sweep: str
    value: float
    condition: Condition

    @property
    def name(self) -> str:
        """A file's name, equal for equal conditions: all sweeps pass the middle."""
        values = dataclasses.asdict(self.condition).items()
        return "_".join(f"{name.split('_')[0]}-{value:g}" for name, value in values)


def make_points(middle: Condition, sweeps: Mapping[str, Sequence[float]]) -> list[Point]:
    """List the points of all sweeps, each with everything else at the middle.

    Raises:
        InputError: If a sweep is unknown, has no value, or one that is out of range.
    """
    known = [field.name for field in dataclasses.fields(Condition)]
    points: list[Point] = []
    for sweep, values in sweeps.items():
        if sweep not in known or not values:
            raise InputError(f"sweep {sweep}: {list(values)}; give values for one of {known}")
        if list(values) != sorted(set(values)):
            raise InputError(f"sweep {sweep}: {list(values)}; give rising values")
        for value in values:
            condition = dataclasses.replace(middle, **{sweep: value})
            points.append(Point(sweep=sweep, value=value, condition=condition))
    return points


class Robustness:
    """Runs methods over points, and keeps what is done.

    Args:
        renderer: Of the cases.
        metrics: Those of `METRICS`.
        count: Cases a point.
        batch_size: Cases that a method gets at a time.
        folder: Where each point's scores of each method are kept.
    """

    def __init__(
        self,
        renderer: SweepRenderer,
        metrics: Mapping[str, Metric],
        count: int,
        batch_size: int,
        folder: Path,
    ) -> None:
        self._renderer = renderer
        self._metrics = metrics
        self._count = count
        self._batch_size = batch_size
        self._folder = folder

    def run(
        self, points: Sequence[Point], methods: Sequence[Method], step: Callable[[int], object]
    ) -> list[Row]:
        """Score every method at every point that is not done.

        Args:
            points: Of all sweeps.
            methods: Each is called with the same cases and draw numbers.
            step: Called with the number of cases that a method is done with.

        Returns:
            A row for each point and method, see `summarise`.
        """
        rows: list[Row] = []
        for point in points:
            missing = [method for method in methods if self._read(point, method.name) is None]
            for _ in range(len(methods) - len(missing)):
                step(self._count)
            if missing:
                self._run_point(point, missing, step)
            rows += [self._row(point, method.name) for method in methods]
        return rows

    def _run_point(
        self, point: Point, methods: Sequence[Method], step: Callable[[int], object]
    ) -> None:
        cases = [self._renderer.render(point.condition, number) for number in range(self._count)]
        for method in methods:
            scores: list[Row] = []
            for batch in self._batches(cases):
                numbers = range(len(scores), len(scores) + len(batch))
                results = method.run([made.case for made in batch], numbers)
                for made, result in zip(batch, results, strict=True):
                    scores.append(score_best(self._metrics, made, result))
                step(len(batch))
            path = self._path(point, method.name)
            aside = path.with_name(f".{path.name}")
            aside.write_text(json.dumps(scores) + "\n", encoding="utf-8")
            aside.replace(path)

    def _batches(self, cases: Sequence[SweepCase]) -> Iterator[Sequence[SweepCase]]:
        for start in range(0, len(cases), self._batch_size):
            yield cases[start : start + self._batch_size]

    def _path(self, point: Point, method: str) -> Path:
        return self._folder / f"{point.name}.{method}.json"

    def _read(self, point: Point, method: str) -> list[Row] | None:
        path = self._path(point, method)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def _row(self, point: Point, method: str) -> Row:
        scores = self._read(point, method)
        assert scores is not None
        return {"sweep": point.sweep, "value": point.value, "method": method} | summarise(scores)


def score_best(metrics: Mapping[str, Metric], made: SweepCase, result: MethodResult) -> Row:
    """Score one result; where several regions are right, by the one that it meets best.

    Returns:
        For each of `METRICS` a number, or None where it is not defined, and ``fallback``, whether
        the method could not serve the case.
    """
    scores: Row = {"fallback": FALLBACK in result.notes}
    for name in METRICS:
        metric = metrics[name]
        assert metric.score is not None
        found: list[float] = []
        for region in made.regions:
            mask = region.astype(np.float32)
            case = dataclasses.replace(made.case, correspondence_mask=mask)
            value = metric.score(case, result)
            if value is not None and math.isfinite(value):
                found.append(float(value))
            if name.startswith("psnr"):
                break  # of the image, whatever the region
        scores[name] = max(found) if found else None
    return scores


def summarise(scores: Sequence[Row]) -> Row:
    """Return the mean of each metric with its interval of 95 % over the cases.

    Returns:
        ``NAME`` (None where it is defined for no case), ``NAME_low``, ``NAME_high``, ``NAME_n``
        (cases that count) for each of `METRICS`, and ``fallbacks``, how many cases were not served.
    """
    row: Row = {"cases": len(scores), "fallbacks": sum(score["fallback"] for score in scores)}
    for name in METRICS:
        values = [score[name] for score in scores if score[name] is not None]
        interval = mean_interval(values)
        known = bool(values)
        row |= {
            name: interval.value if known else None,
            f"{name}_low": interval.low if known else None,
            f"{name}_high": interval.high if known else None,
            f"{name}_n": len(values),
        }
    return row
