"""``rba evaluate``: rendered objects in; figures with intervals, a table and panels out."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.calibrate_command import (
    calibrate_on,
    check_model_folder,
    parse_steps,
    store,
)
from rba.evaluation.conditions import condition_requests
from rba.evaluation.gallery import first_cases, worst_cases
from rba.evaluation.report import Report, evaluate
from rba.evaluation.summary import summary
from rba.evaluation.synthetic import SyntheticSettings, object_folders, synthetic_cases
from rba.evaluation.table import write_csv
from rba.inference.align import AlignmentSettings
from rba.inference.command import choose_device
from rba.inference.gamma import Calibration
from rba.inference.heatmap import heatmap
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.pictures import write_png


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        model: Model directory.
        objects: Folder of rendered objects to measure on.
        output: Folder for what is written.
        calibrate_on: Folder of other rendered objects on which (t*, l*) is chosen; None = as the
            model directory says.
        count: Number of cases; None = one for each object.
        calibration_count: Number of cases to calibrate on; None = one for each object.
        refine: Cases that are refined, the first; None = all.
        steps: Sampler steps of the refinement stage.
        guidance_scale: Classifier-free guidance.
        max_magnification: A crop is enlarged at most this much.
        calibration_steps: Sampler step indices to try, ``0,5,10``; None = every tenth of all.
        write_calibration: Store (t*, l*) in the model directory.
        seed: Keys masks, defects, noise and resamples.
        batch_size: Cases that go through the network together.
        device: ``auto`` or a torch device.
    """

    model: str
    objects: str
    output: str
    calibrate_on: str | None = None
    count: int | None = None
    calibration_count: int | None = None
    refine: int | None = None
    steps: int = 20
    guidance_scale: float = 5.0
    max_magnification: float = 4.0
    calibration_steps: str | None = None
    write_calibration: bool = False
    seed: int = 0
    batch_size: int = 8
    device: str = "auto"


def run_evaluate(command: EvaluateCommand) -> None:
    """Calibrate where that is wanted, align, refine, write, and print the figures.

    Raises:
        InputError: For every mistake in paths, objects and options, before the model is opened.
    """
    numbers: dict[str, Any] = {
        "seed": command.seed,
        "batch_size": command.batch_size,
        "max_magnification": command.max_magnification,
        "sampler": SamplerSettings(
            num_inference_steps=command.steps, guidance_scale=command.guidance_scale
        ),
    }
    RefinementSettings(**numbers)  # refuses unfit ones before the model is opened
    steps = parse_steps("--calibration-steps", command.calibration_steps)
    _check_calibration(command)
    device = choose_device(command.device)
    cases = _make_cases(command.objects, command.count, command.seed)
    others = (
        _make_cases(command.calibrate_on, command.calibration_count, command.seed)
        if command.calibrate_on
        else []
    )
    num_refined = _check_refined(command, cases)
    output = _make_output(Path(command.output))
    pipeline = RefineByAlignPipeline.open(command.model).to(device)
    settings = pipeline.settings(**numbers)
    calibration = None
    if others:
        print(f"calibrating on {len(others)} cases", flush=True)
        total = settings.alignment.num_inference_steps
        wanted = steps or range(0, total, max(total // 10, 1))
        calibration = calibrate_on(pipeline, others, settings, wanted)
        settings = dataclasses.replace(settings, alignment=_chosen(pipeline, calibration))
        write_png(output / "heatmap.png", heatmap(calibration))
        if command.write_calibration:
            store(pipeline, calibration, Path(command.model))
    report = evaluate(
        pipeline.network,
        pipeline.scheduler,
        cases,
        settings,
        num_refined=num_refined,
        progress=print_progress,
    )
    _write(output, report, command, settings, calibration)


def print_progress(what: str, done: int, total: int) -> None:
    """Print one line a batch."""
    print(f"{what}: {done}/{total}", flush=True)


def _check_calibration(command: EvaluateCommand) -> None:
    """Refuse calibration options that contradict each other, and a model that is read-only."""
    unused = {
        "--write-calibration": command.write_calibration,
        "--calibration-steps": command.calibration_steps is not None,
        "--calibration-count": command.calibration_count is not None,
    }
    if command.calibrate_on is None:
        for option, given in unused.items():
            if given:
                raise InputError(f"{option} needs --calibrate-on: objects to calibrate on")
        return
    if Path(command.calibrate_on).resolve() == Path(command.objects).resolve():
        raise InputError(
            f"--calibrate-on {command.calibrate_on} is the folder that is measured on; a cell that "
            "is chosen there looks better than it is: give other objects"
        )
    check_model_folder(
        "--write-calibration", Path(command.model), written=command.write_calibration
    )


def _make_cases(root: str, count: int | None, seed: int) -> list[Case]:
    number = len(object_folders(root)) if count is None else count
    if number < 1:
        raise InputError(f"{number} cases of {root} are too few; give at least 1")
    return list(synthetic_cases(root, number, SyntheticSettings(seed=seed)))


def _check_refined(command: EvaluateCommand, cases: Sequence[Case]) -> int:
    """Return how many cases are refined, after a look at whether they can be."""
    number = len(cases) if command.refine is None else command.refine
    if not 0 <= number <= len(cases):
        raise InputError(f"--refine {number}: there are {len(cases)} cases; give 0 to that")
    condition_requests([RefinementRequest(case=case) for case in cases[:number]])
    return number


def _make_output(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"--output {path} cannot be written to; give another folder")
    return path


def _chosen(pipeline: RefineByAlignPipeline, calibration: Calibration) -> AlignmentSettings:
    step, layer = calibration.best
    current = pipeline.settings().alignment
    return dataclasses.replace(current, sampler_step_index=step, layer=layer)


def _write(
    output: Path,
    report: Report,
    command: EvaluateCommand,
    settings: RefinementSettings,
    calibration: Calibration | None,
) -> None:
    """Write the table, the panels and, last, the figures; print them."""
    metrics = report.metrics | {
        "command": dataclasses.asdict(command),
        "settings": dataclasses.asdict(settings),
    }
    if calibration is not None:
        metrics["calibration"] = calibration.to_dict()
    write_csv(output / "cases.csv", [case.to_row() for case in report.table])
    if report.results:
        write_png(output / "panel.png", first_cases(report))
        write_png(output / "worst.png", worst_cases(report))
    text = json.dumps(metrics, indent=2, allow_nan=False) + "\n"
    (output / "metrics.json").write_text(text, encoding="utf-8")
    print(summary(metrics))
    print(f"\nwrote {output}/metrics.json, cases.csv and the pictures beside them")
