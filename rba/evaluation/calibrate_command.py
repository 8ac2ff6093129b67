"""``rba calibrate``: fill Gamma over annotated cases and write (t*, l*) into the model."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rba.batch import Batch
from rba.case import Case
from rba.errors import InputError
from rba.evaluation.benchmark import FACTS, read_benchmark
from rba.evaluation.calibration import case_batches
from rba.evaluation.synthetic import SyntheticSettings, object_folders, synthetic_cases
from rba.inference.command import choose_device, make_folder
from rba.inference.gamma import Calibration
from rba.inference.gamma_curves import draw_curves
from rba.inference.grid import GridSettings, calibrate
from rba.inference.heatmap import heatmap
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementSettings
from rba.pictures import write_png


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrateCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        model: Model directory.
        data: Folder of benchmark cases with correspondence masks, or of rendered objects.
        output: Folder for ``gamma.json``, ``heatmap.png``, ``curves.png``; None = in the model's
            ``calibration/``.
        count: Cases, the first; None = all.
        steps: Sampler step indices to try, ``0,5,10``; None = all T.
        dry_run: Leave the model as it is.
        seed: Keys masks, defects and noise.
        batch_size: Cases that go through the network together.
        device: ``auto`` or a torch device.
    """

    model: str
    data: str
    output: str | None = None
    count: int | None = None
    steps: str | None = None
    dry_run: bool = False
    seed: int = 0
    batch_size: int = 8
    device: str = "auto"


def run_calibrate(command: CalibrateCommand) -> None:
    """Calibrate, draw, write, and print the choice.

    Raises:
        InputError: For every mistake in paths and options, before the model is opened.
    """
    steps = parse_steps("--steps", command.steps)
    RefinementSettings(seed=command.seed, batch_size=command.batch_size)
    check_model_folder("--model", Path(command.model), written=not command.dry_run)
    device = choose_device(command.device)
    cases = _cases(command)
    output = Path(command.output or Path(command.model) / "calibration")
    make_folder(output, "--output")
    pipeline = RefineByAlignPipeline.open(command.model).to(device)
    settings = pipeline.settings(seed=command.seed, batch_size=command.batch_size)
    if steps is None:
        steps = tuple(range(settings.alignment.num_inference_steps))
    calibration = calibrate_on(pipeline, cases, settings, steps)
    write_png(output / "heatmap.png", heatmap(calibration))
    write_png(output / "curves.png", draw_curves(calibration))
    text = json.dumps(calibration.to_dict() | {"data": Path(command.data).name}, indent=2)
    (output / "gamma.json").write_text(text + "\n", encoding="utf-8")
    _print_choice(calibration, output)
    if not command.dry_run:
        store(pipeline, calibration, Path(command.model))


def parse_steps(option: str, text: str | None) -> tuple[int, ...] | None:
    """Read ``0,5,10``.

    Raises:
        InputError: If it is something else.
    """
    if text is None:
        return None
    words = text.split(",")
    if not all(word.strip().isdecimal() for word in words):
        raise InputError(
            f"{option} {text}: give sampler step indices from 0, the noisiest, between commas, "
            "such as 0,5,10"
        )
    return tuple(int(word) for word in words)


def check_model_folder(option: str, folder: Path, *, written: bool) -> None:
    """Refuse a model that is no folder of the user's or cannot be written to.

    Raises:
        InputError: In these cases.
    """
    if written and not folder.is_dir():
        raise InputError(f"{option}: {folder} is no folder; give a model directory")
    if written and not os.access(folder.resolve(), os.W_OK):
        raise InputError(f"{option}: {folder} cannot be written to; copy the model")


def calibrate_on(
    pipeline: RefineByAlignPipeline,
    cases: Sequence[Case],
    settings: RefinementSettings,
    steps: Sequence[int],
) -> Calibration:
    """Fill Gamma over cases, as the pipeline will align them; prints a line a batch."""
    batches = case_batches(pipeline.network, cases, settings)
    return calibrate(
        pipeline.network,
        pipeline.scheduler,
        _announced(batches, len(cases)),
        GridSettings(
            num_inference_steps=settings.alignment.num_inference_steps,
            steps=tuple(steps),
            region=settings.region,
            seed=settings.seed,
        ),
    )


def store(pipeline: RefineByAlignPipeline, calibration: Calibration, folder: Path) -> None:
    """Write (t*, l*) into the model directory."""
    step, layer = calibration.best
    pipeline.register_to_config(sampler_step_index=step, layer=layer)
    pipeline.write_settings(folder)
    print(f"stored sampler step {step}, layer {layer} in {folder}", flush=True)


def _announced(batches: Iterable[Batch], total: int) -> Iterator[Batch]:
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.draws)
        print(f"calibrate: {done}/{total}", flush=True)


def _cases(command: CalibrateCommand) -> list[Case]:
    """Read the cases whose match is known; say how many have none."""
    root = Path(command.data)
    if any(root.glob(f"*/{FACTS}")):
        given = list(read_benchmark(root))
        cases = [case for case in given if case.correspondence_mask is not None]
        if len(cases) < len(given):
            print(f"{len(given) - len(cases)} of {len(given)} cases have no correspondence mask")
    else:
        number = len(object_folders(root)) if command.count is None else command.count
        cases = list(synthetic_cases(root, number, SyntheticSettings(seed=command.seed)))
    if command.count is not None and not 1 <= command.count <= len(cases):
        raise InputError(f"--count {command.count}: there are {len(cases)} cases; give 1 to that")
    cases = cases[: command.count]
    if not cases:
        raise InputError(
            f"--data {root} holds no case with a known match; add correspondence.png to cases"
        )
    return cases


def _print_choice(calibration: Calibration, output: Path) -> None:
    step, layer = calibration.best
    print(
        f"sampler step {step} of {calibration.num_inference_steps}, layer {layer}: mIoU "
        f"{calibration.at((step, layer)):.3f} over {calibration.num_cases} cases"
    )
    halves = calibration.halves()
    if halves is not None:
        chosen = ", ".join(f"step {half.best[0]} layer {half.best[1]}" for half in halves)
        print(f"halves of the cases choose: {chosen}")
    print(f"wrote {output}/gamma.json, heatmap.png, curves.png")
