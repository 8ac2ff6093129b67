"""``rba evaluate --bench``: a benchmark folder in; a table of methods with intervals out."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from rba.errors import InputError, RunStoppedError
from rba.evaluation.baselines.paint_by_example import (
    ExampleSettings,
    PaintByExample,
    open_paint_by_example,
)
from rba.evaluation.bench_calibration import (
    CalibrationRequest,
    calibrate_split,
    half_split,
    require_regions,
    stored_choice,
)
from rba.evaluation.bench_metrics import bench_figures, read_row, write_groups
from rba.evaluation.bench_rows import choose_rows, make_rows
from rba.evaluation.bench_summary import bench_summary
from rba.evaluation.calibrate_command import parse_steps
from rba.evaluation.case_set import CaseSet, open_case_set
from rba.evaluation.html_report import write_html
from rba.evaluation.methods import Method
from rba.evaluation.models import LazyModel
from rba.evaluation.network_methods import NetworkNumbers
from rba.evaluation.result_files import write_json
from rba.evaluation.run_record import RunRecord
from rba.evaluation.runner import Runner, metrics_digest
from rba.evaluation.scoring import ScoringSettings, make_metrics
from rba.inference.command import choose_device, make_folder
from rba.inference.request import RefinementSettings
from rba.inference.sampler import SamplerSettings

HALF = "half"
_SHOWN = 5  # failures that the terminal tells


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluateBenchCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        bench: Benchmark folder.
        model: Model directory, or the name of a shipped one.
        output: Folder for results, figures and report.
        methods: ``all``, or names between commas.
        results: ``NAME=DIR`` of other tools' pictures.
        also_model: ``NAME=DIR`` of further models.
        calibrate_on: Another benchmark folder, on which (t*, l*) is chosen.
        calibration_split: ``half`` chooses it on one half of the cases and reports on the other.
        calibration_steps: Sampler step indices to try, ``0,5,10``; None = all.
        steps: Sampler steps of the refinement stage.
        guidance_scale: Classifier-free guidance.
        max_magnification: A crop is enlarged at most this much.
        seed: Keys noise, split and resamples.
        batch_size: Cases that go through the network together.
        device: ``auto`` or a torch device.
        dino: Local folder of DINO or DINOv2 for the similarity metric, or None.
        clip: The same of CLIP.
        lpips: Folder with torchvision's AlexNet, or None.
        paint_by_example: Local diffusers folder of that baseline, or None.
    """

    bench: str
    model: str
    output: str
    methods: str = "all"
    results: Sequence[str] = ()
    also_model: Sequence[str] = ()
    calibrate_on: str | None = None
    calibration_split: str | None = None
    calibration_steps: str | None = None
    steps: int = 20
    guidance_scale: float = 5.0
    max_magnification: float = 4.0
    seed: int = 0
    batch_size: int = 8
    device: str = "auto"
    dino: str | None = None
    clip: str | None = None
    lpips: str | None = None
    paint_by_example: str | None = None


def run_evaluate_bench(command: EvaluateBenchCommand) -> None:
    """Calibrate where that is wanted, run every row, score, and write the table.

    Raises:
        InputError: For every mistake in paths, cases and options, before a weight is loaded.
        RunStoppedError: At the end, where cases failed; the table is written without them.
    """
    settings = _settings(command)
    steps = parse_steps("--calibration-steps", command.calibration_steps)
    choice = choose_rows(command.methods, command.results, command.also_model)
    device = choose_device(command.device)
    model = LazyModel(command.model, device)
    others = {name: LazyModel(path, device) for name, path in choice.models.items()}
    scoring = _scoring(command, model, settings, device)
    metrics = make_metrics(scoring)
    example = _example(command, settings, device)
    cases, calibration_cases = _cases(command)
    output = Path(command.output)
    make_folder(output, "--output")
    numbers = NetworkNumbers(settings=settings)
    request = _request(command, calibration_cases, model, numbers.resolved(model), steps)
    record = RunRecord(output)
    record.check_bench(
        cases,
        None if request is None else request.key(),
        [case.number for case in cases.cases],
    )
    make_rows(choice, cases, model, others, numbers, example)  # refuses what does not fit
    calibration = None
    if request is not None:
        calibration = stored_choice(output, request)
        if calibration is None:
            record.check_methods(())
            record.write(dataclasses.asdict(scoring))
            calibration = calibrate_split(request, output)
        cell = (calibration["sampler_step_index"], calibration["layer"])
        numbers = dataclasses.replace(numbers, cell=cell)
    rows, left_out = make_rows(choice, cases, model, others, numbers, example)
    record.check_methods(rows)
    record.write(dataclasses.asdict(scoring))
    runner = Runner(
        cases=cases,
        metrics=metrics,
        scored_with=metrics_digest(metrics, dataclasses.asdict(scoring)),
        output=output,
        batch_size=command.batch_size,
    )
    _run_rows(runner, rows, others)
    figures = _write(runner, rows, left_out, calibration, command.seed)
    print(bench_summary(figures))
    print(f"\nwrote {output}/report.html, metrics.json, groups.csv and methods/")
    _tell_failures(figures, output)


def _settings(command: EvaluateBenchCommand) -> RefinementSettings:
    return RefinementSettings(
        seed=command.seed,
        batch_size=command.batch_size,
        max_magnification=command.max_magnification,
        sampler=SamplerSettings(
            num_inference_steps=command.steps, guidance_scale=command.guidance_scale
        ),
    )


def _scoring(
    command: EvaluateBenchCommand,
    model: LazyModel,
    settings: RefinementSettings,
    device: torch.device,
) -> ScoringSettings:
    return ScoringSettings(
        reference_side=model.index["reference_size"],
        object_margin=settings.object_margin,
        dino=command.dino,
        clip=command.clip,
        lpips=command.lpips,
        device=str(device),
    )


def _example(
    command: EvaluateBenchCommand, settings: RefinementSettings, device: torch.device
) -> PaintByExample | None:
    """Return the baseline with the crop, steps and seed of our own rows."""
    if command.paint_by_example is None:
        return None
    options = ExampleSettings(
        steps=command.steps,
        guidance_scale=command.guidance_scale,
        crop_factor=settings.crop_factor,
        max_magnification=settings.max_magnification,
        seed=command.seed,
    )
    return open_paint_by_example(command.paint_by_example, device, options)


def _cases(command: EvaluateBenchCommand) -> tuple[CaseSet, CaseSet | None]:
    """Return the cases of the table, and those to calibrate on."""
    split = command.calibration_split
    if command.calibrate_on is None and split is None and command.calibration_steps is not None:
        raise InputError("--calibration-steps needs --calibrate-on or --calibration-split half")
    if command.calibrate_on is not None and split is not None:
        raise InputError("--calibrate-on and --calibration-split contradict each other; give one")
    if split not in (None, HALF):
        raise InputError(f"--calibration-split {split} is not known; give {HALF}")
    cases = _open(command.bench, "--bench")
    if split is not None:
        chosen, reported = half_split(cases, command.seed)
        return reported, chosen
    if command.calibrate_on is None:
        return cases, None
    other = _open(command.calibrate_on, "--calibrate-on")
    if other.digest == cases.digest:
        raise InputError(
            f"--calibrate-on {command.calibrate_on} holds the cases that are measured on; a cell "
            "that is chosen there looks better than it is: give other cases, or "
            "--calibration-split half"
        )
    require_regions(other, f"--calibrate-on {command.calibrate_on}")
    return cases, other


def _open(root: str, option: str) -> CaseSet:
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds
    with tqdm(desc="read cases", unit="case", mininterval=interval, dynamic_ncols=True) as bar:

        def follow(total: int) -> None:
            if total:
                bar.reset(total)
            else:
                bar.update()

        return open_case_set(root, option=option, follow=follow)


def _request(
    command: EvaluateBenchCommand,
    cases: CaseSet | None,
    model: LazyModel,
    settings: RefinementSettings,
    steps: tuple[int, ...] | None,
) -> CalibrationRequest | None:
    if cases is None:
        return None
    total = settings.alignment.num_inference_steps
    wanted = tuple(range(total)) if steps is None else tuple(sorted(set(steps)))
    if wanted[-1] >= total:
        raise InputError(
            f"--calibration-steps {wanted[-1]}: the model has sampler steps 0 to {total - 1}"
        )
    half = f"--calibration-split {HALF}"
    return CalibrationRequest(
        cases=cases,
        option=half if command.calibrate_on is None else f"--calibrate-on {cases.root.name}",
        model=model,
        settings=settings,
        steps=wanted,
    )


def _run_rows(runner: Runner, rows: Sequence[Method], others: Mapping[str, LazyModel]) -> None:
    for row in rows:
        runner.run(row)
        if row.name in others:
            others[row.name].close()


def _write(
    runner: Runner,
    rows: Sequence[Method],
    left_out: Mapping[str, str],
    calibration: Mapping[str, Any] | None,
    seed: int,
) -> dict[str, Any]:
    """Write the table in all its forms; return its figures."""
    cases, metrics, output = runner.cases, runner.metrics, runner.output
    folders = {row.name: runner.folder(row.name) for row in rows}
    stored = [read_row(row, folders[row.name], cases) for row in rows]
    figures = bench_figures(stored, cases, metrics, left_out=left_out, seed=seed)
    figures["calibration"] = calibration
    write_groups(output / "groups.csv", stored, cases, metrics)
    write_html(output, figures, stored, cases, folders)
    write_json(output / "metrics.json", figures)
    return figures


def _tell_failures(figures: Mapping[str, Any], output: Path) -> None:
    told = [
        f"{name}: {case}: {error}"
        for name, row in figures["methods"].items()
        for case, error in row["failures"].items()
    ]
    if not told:
        return
    for line in told[:_SHOWN]:
        print(f"failed: {line}", file=sys.stderr)
    if len(told) > _SHOWN:
        print(f"... and {len(told) - _SHOWN} more", file=sys.stderr)
    raise RunStoppedError(
        f"{len(told)} results failed and are missing from the table; {output}/methods/NAME/ID.json "
        "has each error; the same command tries them again"
    )
