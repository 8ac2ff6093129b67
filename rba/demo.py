"""The whole path in minutes: render, build shards, train, stop, resume, export, align, refine.

Every step is a command that a user could type, and is printed as such.
"""

import dataclasses
import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.models.shipped import resolve_model
from rba.settings import build, compose_config, user_errors
from rba.workflow.commands import (
    evaluate_command,
    export_command,
    options,
    run_command,
    train_command,
)
from rba.workflow.rendered import RenderedData, shard_folders


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """``conf/demo.yaml``.

    Attributes:
        out: Folder for everything, emptied first.
        seed: Of training and evaluation.
        init_from: Model that training starts from, a folder or a shipped name.
        from_scratch: Start from random weights instead.
        rendered: The data.
        max_steps: Optimiser steps.
        stop_at: Step at which training stops once.
        train_overrides: Of ``conf/train.yaml``.
        fine_tune_overrides: The same, where training starts from weights.
        evaluation: Options of ``rba evaluate``.
    """

    out: str
    seed: int
    init_from: str
    from_scratch: bool
    rendered: RenderedData
    max_steps: int
    stop_at: int
    train_overrides: list[str]
    fine_tune_overrides: list[str]
    evaluation: dict[str, Any]


class Demo:
    """The steps of the demo, in order, each timed.

    Args:
        settings: ``conf/demo.yaml`` as built.
    """

    def __init__(self, settings: DemoSettings) -> None:
        self.settings = settings
        self.out = Path(settings.out)
        self.data = self.out / "data"
        self.model = self.out / "model"
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        """Run all steps and write ``panel.png`` and ``metrics.json``."""
        self._require_start()
        self._empty_out()
        for name in ("render", "shards", "train", "resume", "export", "evaluate", "refine_one"):
            start = time.perf_counter()
            getattr(self, name)()
            self.seconds[name] = time.perf_counter() - start
        self._finish()

    def render(self) -> None:
        """Render objects of both splits, and photos of the training split."""
        for command in self.settings.rendered.render(self.data).values():
            run_command(command)

    def shards(self) -> None:
        """Build the shards of both modes, and those of the calibration pairs for validation."""
        commands = self.settings.rendered.shards(self.data)
        for name in ("alignment", "refinement", "validation"):
            run_command(commands[name])

    def train(self) -> None:
        """Train up to ``stop_at``."""
        self._train(self.settings.stop_at)

    def resume(self) -> None:
        """Go on from the checkpoint to ``max_steps``."""
        self._train(self.settings.max_steps, resume="auto")

    def export(self) -> None:
        """Write the averaged weights as a model directory."""
        run_command(export_command(self.out, self.settings.max_steps, self.model))

    def evaluate(self) -> None:
        """Calibrate on training pictures, measure on held-out ones, draw the panels."""
        settings = {**self.settings.evaluation, "seed": self.settings.seed}
        run_command(evaluate_command(self.model, self.data, self.out, settings))

    def refine_one(self) -> None:
        """Refine the first case with the command that a user would type."""
        from rba.evaluation.benchmark import write_case
        from rba.evaluation.synthetic import SyntheticSettings, synthetic_cases

        case = next(synthetic_cases(self.data / "test", 1, SyntheticSettings()))
        example = self.out / "example"
        write_case(example / "case", case)
        given = {
            "model": self.model,
            "image": example / "case" / "image.png",
            "mask": example / "case" / "mask.png",
            "reference": example / "case" / "reference.png",
            "output": example / "refined.png",
            "save_intermediates": example / "intermediates",
        }
        run_command(("rba", "refine", *options(given)))

    def _train(self, max_steps: int, resume: str | None = None) -> None:
        chosen = self.settings
        settings = {
            "seed": chosen.seed,
            "max_steps": max_steps,
            "init_from": None if chosen.from_scratch else chosen.init_from,
            "resume": resume,
        }
        more = [] if chosen.from_scratch else chosen.fine_tune_overrides
        shards = shard_folders(self.data)
        run_command(train_command(shards, self.out, settings, [*chosen.train_overrides, *more]))

    def _require_start(self) -> None:
        """Refuse a start whose weights are not there, before anything is removed or rendered."""
        if self.settings.from_scratch:
            return
        try:
            resolve_model(self.settings.init_from)
        except InputError as error:
            raise InputError(
                f"init_from: {error}; or train from nothing with `make demo FROM_SCRATCH=1` "
                "(from_scratch=true)"
            ) from error

    def _empty_out(self) -> None:
        if self.out.exists():
            known = (self.out / "config.yaml", self.data)
            if not any(path.exists() for path in known):
                raise InputError(f"{self.out} exists and is not of an earlier demo; give out=DIR")
            print(f"removing {self.out} of an earlier demo")
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True)

    def _finish(self) -> None:
        """Add to the figures what the whole demo took."""
        peak = max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        path = self.out / "metrics.json"
        metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        metrics["seconds"] |= {f"demo_{name}": s for name, s in self.seconds.items()}
        metrics["peak_memory_gib"] = peak / 2**20
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
        total = sum(self.seconds.values()) / 60
        print(f"\n{total:.1f} minutes in all: look at {self.out}/panel.png and {path}")


def main() -> None:
    """Run the demo with the command line's overrides of ``conf/demo.yaml``."""
    # Loader workers and training threads share few cores: waiting threads must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with user_errors():
        Demo(build(compose_config("demo", sys.argv[1:]))).run()


if __name__ == "__main__":
    main()
