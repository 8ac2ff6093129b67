"""Reproduce the shipped model with one command: render, train in stages, export, measure, write.

Started again, it goes on: what is whole is skipped, a training resumes from its checkpoint.
"""

import collections
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rba.errors import InputError
from rba.settings import build, compose_config, user_errors
from rba.workflow.commands import (
    evaluate_command,
    export_command,
    run_command,
    shell_line,
    train_command,
)
from rba.workflow.rendered import RenderedData, shard_folders
from rba.workflow.stage import Stage, require_same_settings, samples_by_mode, stage_log
from rba.workflow.steps import Command, Steps

PICTURES = ("heatmap.png", "panel.png", "worst.png")
NAME = "tiny"  # under which the package ships it


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyModelSettings:
    """``conf/tiny_model.yaml``.

    Attributes:
        out: Folder for runs, model, report and the records of steps.
        data_folder: Folder of the data.
        docs: Folder that gets the report's pictures; None = none.
        adopt: Take results that lie in their place without a record as whole.
        rendered: The data's settings.
        train_overrides: Of ``conf/train.yaml``, for all trainings.
        stages: By name, in order: ``max_steps``, ``seed``, ``overrides``.
        evaluation: Options of ``rba evaluate``.
        ablations: Train and measure the ablations as well; ``only``: nothing but them.
        ablation_steps: Optimiser steps of each.
        ablation_seed: Seed of each.
        ablation_overrides: Of ``conf/train.yaml``, for all of them.
        ablation_runs: By name, the overrides that make the difference.
    """

    out: str
    data_folder: str
    docs: str | None
    adopt: bool
    rendered: RenderedData
    train_overrides: list[str]
    stages: dict[str, Any]
    evaluation: dict[str, Any]
    ablations: bool | Literal["only"]
    ablation_steps: int
    ablation_seed: int
    ablation_overrides: list[str]
    ablation_runs: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Digests of the steps that made the data.

    Attributes:
        shards: What is trained on.
        measured: What is calibrated and measured on.
    """

    shards: Sequence[str]
    measured: Sequence[str]


class TinyModel:
    """The steps of the reproduction, in order.

    Args:
        settings: ``conf/tiny_model.yaml`` as built.

    Raises:
        InputError: If no stage is left, or one or ``ablations`` is misspelt.
    """

    def __init__(self, settings: TinyModelSettings) -> None:
        self.settings = settings
        self.out = Path(settings.out)
        self.data = Path(settings.data_folder)
        self.runs = self.out / "runs"
        self.model = self.out / "model"
        self.report = self.out / "report"
        self.stages = [Stage.read(name, given) for name, given in settings.stages.items()]
        if not self.stages:
            raise InputError("stages is empty; give at least one")
        if settings.ablations not in (False, True, "only"):
            raise InputError(f"ablations={settings.ablations}; give true, false or only")
        self.ablations = [
            Stage(
                name=name,
                max_steps=settings.ablation_steps,
                seed=settings.ablation_seed,
                overrides=[*settings.ablation_overrides, *more],
            )
            for name, more in settings.ablation_runs.items()
        ]
        self.steps = Steps(self.out / "steps", run_command, adopt=settings.adopt)
        self.data_steps = Steps(self.data / "steps", run_command, adopt=settings.adopt)

    def run(self) -> None:
        """Run all steps that are not whole; card, curves and tables are written each time."""
        data = self.make_data()
        if self.settings.ablations != "only":
            self.measure(self.train_stages(data), data)
            self.write_card()
            self.copy_pictures()
            print(f"\nwrote {self.model} (to ship: rba/assets/{NAME}) and {self.report}")
        if self.settings.ablations:
            self.run_ablations(data)

    def make_data(self) -> Data:
        """Render all sets and build all shards."""
        rendered, take = self.settings.rendered, self.data_steps.take
        folders = rendered.folders(self.data)
        pictures = {
            name: take(f"render_{name}", [command], makes=folders[name])
            for name, command in rendered.render(self.data).items()
        }
        made_of = collections.defaultdict(lambda: "train", validation="calibration")
        shards = [
            take(
                f"shards_{name}",
                [command],
                makes=[self.data / "shards" / name],
                after=[pictures[made_of[name]]],
            )
            for name, command in rendered.shards(self.data).items()
        ]
        return Data(shards=shards, measured=[pictures["calibration"], pictures["test"]])

    def train_stages(self, data: Data) -> str:
        """Train and export the stages, each from the weights of the one before."""
        done, previous = list[str](), None
        for stage in self.stages:
            run, model = self.run_folder(stage), self.stage_model(stage)
            done = [self.train(f"train_{stage.name}", stage, run, model, previous, data, done)]
            previous = model
        return done[0]

    def measure(self, done: str, data: Data) -> None:
        """Export the last stage in half precision, calibrate it and measure it."""
        last = self.stages[-1]
        export = export_command(
            self.run_folder(last), last.max_steps, self.model, "--dtype=float16"
        )
        self.steps.take(
            "measure",
            [export, self.evaluation(self.model, self.report)],
            makes=[self.model, self.report],
            after=[done, *data.measured],
        )

    def run_ablations(self, data: Data) -> None:
        """Train and measure every ablation; write ``ablations.md`` and ``ablations.json``."""
        from rba.evaluation.ablations import Ablation, ablation_figures, ablation_table

        measured: list[Ablation] = []
        for stage in self.ablations:
            folder = self.out / "ablations" / stage.name
            run, model, report = (folder / name for name in ("run", "model", "report"))
            done = self.train(f"train_ablation_{stage.name}", stage, run, model, None, data, [])
            self.steps.take(
                f"measure_ablation_{stage.name}",
                [self.evaluation(model, report)],
                makes=[report],
                after=[done, *data.measured],
            )
            metrics = _read_json(report / "metrics.json")
            samples = samples_by_mode(run)
            measured.append(Ablation(name=stage.name, samples=samples, metrics=metrics))
        text = ablation_table(measured)
        (self.out / "ablations.md").write_text(text, encoding="utf-8")
        figures = json.dumps(ablation_figures(measured), indent=2, allow_nan=False)
        (self.out / "ablations.json").write_text(figures + "\n", encoding="utf-8")
        print(f"\n{text}\nwrote {self.out}/ablations.md and ablations.json")

    def write_card(self) -> None:
        """Write ``README.md``, ``curves.csv`` and ``curves.png`` into the model directory."""
        from rba.evaluation.card import model_card
        from rba.evaluation.curves import join_curves, plot_curves
        from rba.evaluation.table import write_csv
        from rba.pictures import write_png
        from rba.workflow.facts import card_facts

        curves = join_curves([stage_log(stage, self.run_folder(stage)) for stage in self.stages])
        write_csv(self.model / "curves.csv", curves)
        write_png(self.model / "curves.png", plot_curves(curves))
        facts = card_facts(
            NAME,
            self.model,
            [(stage, self.run_folder(stage)) for stage in self.stages],
            self.settings.rendered,
            self.command_lines(),
        )
        card = model_card(facts, _read_json(self.report / "metrics.json"))
        (self.model / "README.md").write_text(card, encoding="utf-8")

    def copy_pictures(self) -> None:
        """Copy the report's pictures and the curves into ``docs``, where one is given."""
        if self.settings.docs is None:
            return
        docs = Path(self.settings.docs)
        docs.mkdir(parents=True, exist_ok=True)
        for path in (*(self.report / name for name in PICTURES), self.model / "curves.png"):
            shutil.copyfile(path, docs / path.name)

    def command_lines(self) -> list[str]:
        """Return all commands that made the model, in order, with OUT and DATA for the folders."""
        rendered = self.settings.rendered
        names = [f"render_{name}" for name in rendered.render(self.data)]
        names += [f"shards_{name}" for name in rendered.shards(self.data)]
        made = [command for name in names for command in self.data_steps.commands(name)]
        for name in (*(f"train_{stage.name}" for stage in self.stages), "measure"):
            made += self.steps.commands(name)
        lines = [shell_line(command) for command in made]
        for folder, word in ((self.data, "DATA"), (self.out, "OUT")):
            lines = [line.replace(f"={folder}/", f"={word}/") for line in lines]
        return lines

    def run_folder(self, stage: Stage) -> Path:
        """Return the folder of a stage's run."""
        return self.runs / stage.name

    def stage_model(self, stage: Stage) -> Path:
        """Return the folder of a stage's exported weights."""
        return self.runs / f"{stage.name}-model"

    def train_command(self, stage: Stage, run: Path, previous: Path | None) -> Command:
        """Return the command that trains a stage from weights, or from nothing."""
        settings: Mapping[str, Any] = {
            "seed": stage.seed,
            "max_steps": stage.max_steps,
            "init_from": previous,
            "resume": "auto",
        }
        more = [*self.settings.train_overrides, *stage.overrides]
        return train_command(shard_folders(self.data), run, settings, more)

    def train(
        self,
        name: str,
        stage: Stage,
        run: Path,
        model: Path,
        previous: Path | None,
        data: Data,
        after: Sequence[str],
    ) -> str:
        """Take the step that trains and exports; an adopted run must have the same settings."""
        train = self.train_command(stage, run, previous)
        if self.settings.adopt and not self.steps.is_known(name):
            require_same_settings(run, train)
        return self.steps.take(
            name,
            [train, export_command(run, stage.max_steps, model)],
            makes=[model],
            continues=run,
            after=[*after, *data.shards],
        )

    def evaluation(self, model: Path, report: Path) -> Command:
        """Return the command that calibrates and measures a model."""
        return evaluate_command(model, self.data, report, self.settings.evaluation)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Reproduce the model with the command line's overrides of ``conf/tiny_model.yaml``."""
    # Loader workers and training threads share few cores: waiting threads must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with user_errors():
        TinyModel(build(compose_config("tiny_model", sys.argv[1:]))).run()


if __name__ == "__main__":
    main()
