"""The whole path in minutes: render, build shards, train, stop, resume, export, align, refine.

Every step before the evaluation is a command that a user could type, and is printed as such.
"""

import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from rba.errors import InputError
from rba.settings import CONFIG_FOLDER, compose_config, plain, user_errors

ROOT = CONFIG_FOLDER.parent


class Demo:
    """The steps of the demo, in order, each timed.

    Args:
        config: The composed ``conf/demo.yaml``.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.data = self.out / "data"
        self.seconds: dict[str, float] = {}

    def run(self) -> None:
        """Run all steps and write ``panel.png`` and ``metrics.json``."""
        self._empty_out()
        for name in ("render", "shards", "train", "resume", "export", "evaluate", "refine_one"):
            start = time.perf_counter()
            getattr(self, name)()
            self.seconds[name] = time.perf_counter() - start
        self._finish()

    def render(self) -> None:
        """Render objects of both splits, and photos of the training split."""
        config = self.config
        for split, name, count, seed in (
            ("train", "train", config.train_objects, config.seed),
            ("train", "calibration", config.calibration_objects, config.seed + 1),
            ("heldout", "test", config.test_objects, config.seed + 2),
        ):
            photos = [f"photos_out={self.data}/photos", f"num_photos={config.num_photos}"]
            self._python(
                "data_tools/render_objects.py",
                f"out={self.data}/objects-{name}",
                f"split={split}",
                f"count={count}",
                f"seed={seed}",
                f"size={config.size}",
                "workers=2",
                *(photos if name == "train" else ()),
            )

    def shards(self) -> None:
        """Build the shards of both modes, and those of the calibration pairs for validation."""
        self._python(
            "data_tools/build_alignment_shards.py",
            f"images={self.data}/photos",
            f"out={self.data}/alignment",
            f"shortest_side={self.config.size // 2}",
            "samples_per_shard=60",
        )
        for name in ("train", "calibration"):
            self._python(
                "data_tools/build_refinement_shards.py",
                f"objects={self.data}/objects-{name}",
                f"out={self.data}/refinement-{name}",
                "samples_per_shard=60",
            )

    def train(self) -> None:
        """Train up to ``stop_at``."""
        self._train(self.config.stop_at)

    def resume(self) -> None:
        """Go on from the checkpoint to ``max_steps``."""
        self._train(self.config.max_steps, "resume=auto")

    def export(self) -> None:
        """Write the averaged weights as a model directory."""
        checkpoint = self.out / "checkpoints" / f"step_{self.config.max_steps:08d}.ckpt"
        self._python(
            "-m",
            "rba.cli",
            "export",
            f"--checkpoint={checkpoint}",
            f"--output={self.model}",
        )

    @property
    def model(self) -> Path:
        """The model directory."""
        return self.out / "model"

    def evaluate(self) -> None:
        """Calibrate on training pictures, measure on held-out ones, draw the panel."""
        from rba.evaluation.calibration import case_batches
        from rba.evaluation.command import print_progress
        from rba.evaluation.report import evaluate
        from rba.inference.grid import GridSettings, calibrate
        from rba.inference.panel import panel
        from rba.inference.pipeline import RefineByAlignPipeline
        from rba.inference.sampler import SamplerSettings
        from rba.pictures import write_png

        config = self.config
        pipeline = RefineByAlignPipeline.open(self.model)
        changes: dict[str, Any] = {
            "max_magnification": config.max_magnification,
            "batch_size": config.batch_size,
            "seed": config.seed,
            "sampler": SamplerSettings(
                num_inference_steps=config.refine_steps, guidance_scale=config.guidance_scale
            ),
        }
        calibration = calibrate(
            pipeline.network,
            pipeline.scheduler,
            case_batches(
                pipeline.network,
                self._cases("calibration", config.calibration_objects),
                pipeline.settings(**changes),
            ),
            GridSettings(steps=tuple(config.calibration_steps), seed=config.seed),
        )
        step, layer = calibration.best
        pipeline.register_to_config(sampler_step_index=step, layer=layer)
        pipeline.write(self.model)

        cases = self._cases("test", config.test_objects)
        report = evaluate(
            pipeline.network,
            pipeline.scheduler,
            cases,
            pipeline.settings(**changes),
            num_refined=config.num_refined,
            progress=print_progress,
        )
        self.metrics = report.metrics | {"calibration": calibration.to_dict()}
        shown = config.num_shown
        write_png(self.out / "panel.png", panel(report.cases[:shown], report.results[:shown]))

    def refine_one(self) -> None:
        """Refine the first case with the command that a user would type."""
        from rba.evaluation.benchmark import write_case

        case = self._cases("test", 1)[0]
        folder = self.out / "example" / "case"
        write_case(folder, case)
        self._python(
            "-m",
            "rba.cli",
            "refine",
            f"--model={self.model}",
            f"--image={folder}/image.png",
            f"--mask={folder}/mask.png",
            f"--reference={folder}/reference.png",
            f"--output={self.out}/example/refined.png",
            f"--save-intermediates={self.out}/example/intermediates",
        )

    def _cases(self, name: str, count: int) -> list[Any]:
        from rba.evaluation.synthetic import SyntheticSettings, synthetic_cases

        settings = SyntheticSettings(seed=self.config.seed)
        return list(synthetic_cases(self.data / f"objects-{name}", count, settings))

    def _train(self, max_steps: int, *more: str) -> None:
        self._python(
            "train.py",
            "experiment=tiny",
            f"runs_folder={self.out.parent}",
            f"run_name={self.out.name}",
            f"seed={self.config.seed}",
            f"max_steps={max_steps}",
            f"data.alignment.shards={self.data}/alignment",
            f"data.refinement.shards={self.data}/refinement-train",
            f"data.refinement.validation_shards={self.data}/refinement-calibration",
            *plain(self.config.train_overrides),
            *more,
        )

    def _python(self, script: str, *arguments: str) -> None:
        """Print and run a command of the project; its failure ends the demo."""
        print(f"\n$ {shlex.join(['python', script, *arguments])}", flush=True)
        path = script if script == "-m" else str(ROOT / script)
        done = subprocess.run([sys.executable, path, *arguments], check=False)
        if done.returncode:
            raise InputError(f"the command above ended with status {done.returncode}")

    def _empty_out(self) -> None:
        if self.out.exists():
            known = (self.out / "config.yaml", self.data)
            if not any(path.exists() for path in known):
                raise InputError(f"{self.out} exists and is not of an earlier demo; give out=DIR")
            print(f"removing {self.out} of an earlier demo")
            shutil.rmtree(self.out)
        self.out.mkdir(parents=True)

    def _finish(self) -> None:
        from rba.evaluation.summary import summary

        peak = max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        self.metrics["seconds"] |= {f"demo_{name}": s for name, s in self.seconds.items()}
        self.metrics["peak_memory_gib"] = peak / 2**20
        text = json.dumps(self.metrics, indent=2) + "\n"
        (self.out / "metrics.json").write_text(text)
        print(summary(self.metrics))
        print(f"\nwrote {self.out}/metrics.json and {self.out}/panel.png: look at the picture")


def main() -> None:
    """Run the demo with the command line's overrides of ``conf/demo.yaml``."""
    # Loader workers and training threads share few cores: waiting threads must not spin.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with user_errors():
        Demo(compose_config("demo", sys.argv[1:])).run()


if __name__ == "__main__":
    main()
