"""``rba robustness``: sweeps over rendered cases, as ``conf/bench/robustness.yaml`` has them."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rba.errors import InputError
from rba.evaluation.bench_rows import WITHOUT_NETWORK
from rba.evaluation.case_set import CaseSet
from rba.evaluation.methods import Method
from rba.evaluation.models import LazyModel
from rba.evaluation.network_methods import NetworkMethod, NetworkNumbers
from rba.evaluation.network_rows import ROWS
from rba.evaluation.result_files import write_json
from rba.evaluation.robustness import METRICS, Point, Robustness, Row, make_points
from rba.evaluation.robustness_pictures import draw_examples, draw_sweeps
from rba.evaluation.scoring import ScoringSettings, make_metrics
from rba.evaluation.sweep_cases import Condition, SweepRenderer, SweepSettings
from rba.evaluation.table import write_csv
from rba.inference.command import choose_device, make_folder
from rba.inference.request import RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.pictures import write_png
from rba.rendering.style import PrintStyle
from rba.settings import compose_config, plain

RECORD = "run.json"
_CONFIG = "bench/robustness"
_OURS = {row.name: row for row in ROWS if row.guide != "wrong"}
DEFAULT_METHODS = "ours,sift_poisson,patch_correlation,defect"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobustnessCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        model: Model directory, or the name of a shipped one.
        output: Folder for scores, tables and curves.
        methods: Names between commas: rows of ours, ``sift_poisson``, ``patch_correlation``,
            ``defect``.
        sweeps: Names between commas; None = all of the configuration.
        count: Cases a point.
        size: Side of the images in pixels.
        steps: Sampler steps of the refinement stage.
        guidance_scale: Classifier-free guidance.
        max_magnification: A crop is enlarged at most this much.
        seed: Keys cases and noise.
        batch_size: Cases that go through the network together.
        device: ``auto`` or a torch device.
        overrides: Of the configuration, ``'sweeps.view_angle=[0,40,80]'``.
    """

    model: str
    output: str
    methods: str = DEFAULT_METHODS
    sweeps: str | None = None
    count: int = 16
    size: int = 128
    steps: int = 20
    guidance_scale: float = 5.0
    max_magnification: float = 4.0
    seed: int = 0
    batch_size: int = 8
    device: str = "auto"
    overrides: Sequence[str] = ()


def run_robustness(command: RobustnessCommand) -> None:
    """Run what is missing, and write tables and curves.

    Raises:
        InputError: For every mistake in options and configuration, and where the folder holds
            scores of other settings, before a model is opened.
    """
    if command.count < 2:
        raise InputError(f"--count {command.count}: an interval needs at least 2 cases a point")
    config: dict[str, Any] = plain(compose_config(_CONFIG, command.overrides))
    settings, points = _settings(command, config)
    methods = _methods(command)
    renderer = SweepRenderer(settings)
    output = Path(command.output).expanduser()
    _open_output(output, _record(command, config, methods))
    metrics = make_metrics(ScoringSettings())
    folder = output / "points"
    folder.mkdir(exist_ok=True)
    sweeps = Robustness(renderer, metrics, command.count, command.batch_size, folder)
    total = len(points) * len(methods) * command.count
    interval = 0.2 if sys.stderr.isatty() else 30.0  # seconds; a log file gets few lines
    with tqdm(total=total, unit="result", mininterval=interval, dynamic_ncols=True) as bar:
        rows = sweeps.run(points, methods, bar.update)
    _write(output, rows, points, renderer, command, {name: metrics[name] for name in METRICS})


def _settings(
    command: RobustnessCommand, config: Mapping[str, Any]
) -> tuple[SweepSettings, list[Point]]:
    try:
        style: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in config["style"].items()
        }
        settings = SweepSettings(
            split=config["split"],
            shapes=tuple(config["shapes"]),
            profile=config["profile"],
            roll_degrees=config["roll_degrees"],
            style=PrintStyle(**style),
            size=command.size,
            seed=command.seed,
        )
        return settings, make_points(
            Condition(**config["middle"]), _chosen(command.sweeps, config["sweeps"])
        )
    except (AttributeError, TypeError) as error:
        raise InputError(f"a setting of a wrong kind in conf/{_CONFIG}.yaml: {error}") from error


def _chosen(names: str | None, sweeps: Mapping[str, Any]) -> Mapping[str, Any]:
    if names is None:
        return sweeps
    wanted = [name.strip() for name in names.split(",")]
    if unknown := [name for name in wanted if name not in sweeps]:
        raise InputError(f"--sweeps {names}: {unknown[0]} is none of {', '.join(sweeps)}")
    return {name: values for name, values in sweeps.items() if name in wanted}


def _methods(command: RobustnessCommand) -> list[Method]:
    names = [name.strip() for name in command.methods.split(",")]
    known = [*_OURS, *WITHOUT_NETWORK]
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise InputError(f"--methods {command.methods}: give some of {', '.join(known)}, each once")
    settings = RefinementSettings(
        seed=command.seed,
        batch_size=command.batch_size,
        max_magnification=command.max_magnification,
        sampler=SamplerSettings(
            num_inference_steps=command.steps, guidance_scale=command.guidance_scale
        ),
    )
    model = LazyModel(command.model, choose_device(command.device))
    numbers, nothing = (
        NetworkNumbers(settings=settings),
        CaseSet(root=Path(), cases=(), digest="", whole=()),
    )
    return [
        NetworkMethod(_OURS[name], model, numbers, nothing)
        if name in _OURS
        else WITHOUT_NETWORK[name]()
        for name in names
    ]


def _record(
    command: RobustnessCommand, config: Mapping[str, Any], methods: Sequence[Method]
) -> dict[str, Any]:
    """What decides the scores; sweeps and methods may be added to a folder."""
    given = {key: getattr(command, key) for key in ("count", "size", "seed")}
    fixed = {key: value for key, value in config.items() if key != "sweeps"}
    rows = {method.name: dict(method.settings()) for method in methods}
    return json.loads(json.dumps({**given, **fixed, "methods": rows}))


def _open_output(output: Path, record: dict[str, Any]) -> None:
    """Make the folder, or see that what it holds was scored under the same settings."""
    make_folder(output, "--output")
    path = output / RECORD
    if path.is_file():
        try:
            before: Any = json.loads(path.read_text(encoding="utf-8"))
            known = dict(before["methods"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no record of rba robustness; give a new folder") from error
        for key, value in record.items():
            if key != "methods" and before.get(key) != value:
                raise InputError(
                    f"--output {output} holds scores with {key}={before.get(key)!r:.60}, not "
                    f"{value!r:.60}; give another folder, or the settings that it was begun with"
                )
        for name, settings in record["methods"].items():
            if known.get(name, settings) != settings:
                raise InputError(
                    f"--output {output} holds scores of {name} with another model or other "
                    "settings; give another folder"
                )
        record["methods"] = known | record["methods"]
    elif any(output.iterdir()):
        raise InputError(f"--output {output} is not empty; give a new folder")
    write_json(path, record)


def _write(
    output: Path,
    rows: Sequence[Row],
    points: Sequence[Point],
    renderer: SweepRenderer,
    command: RobustnessCommand,
    metrics: Mapping[str, Any],
) -> None:
    for sweep in dict.fromkeys(point.sweep for point in points):
        own = [row for row in rows if row["sweep"] == sweep]
        write_png(output / f"{sweep}.png", draw_sweeps(own))
    write_png(output / "curves.png", draw_sweeps(rows))
    write_png(output / "examples.png", draw_examples(renderer, points))
    write_csv(output / "robustness.csv", rows)
    told = {
        name: {"unit": metric.unit, "better": metric.better, "definition": metric.definition}
        for name, metric in metrics.items()
    }
    content = {"schema": 1, "cases": command.count, "metrics": told, "rows": list(rows)}
    write_json(output / "robustness.json", content)
    print(f"wrote {output}/robustness.json, robustness.csv, curves.png and examples.png")
