"""One training of several: its settings, and what its run's folder tells of it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rba.batch import Mode
from rba.data.alternation import ModePattern
from rba.errors import InputError
from rba.evaluation.curves import StageLog
from rba.settings import compose_config, plain
from rba.workflow.steps import Command

# Settings that say where things lie and what is logged when, not what is trained.
_BESIDE = (
    "accept_changes",
    "callbacks.bad_samples",
    "callbacks.best_checkpoint",
    "callbacks.layer_heatmap.path",
    "callbacks.pictures",
    "callbacks.preemption",
    "callbacks.progress",
    "callbacks.resume_checkpoint",
    "callbacks.skip_non_finite.path",
    "data.alignment.shards",
    "data.alignment.validation_shards",
    "data.num_validation_samples",
    "data.num_workers",
    "data.persistent_workers",
    "data.prefetch",
    "data.refinement.shards",
    "data.refinement.validation_shards",
    "init_from",
    "init_weights",
    "logger.",
    "lora.",  # no stage trains adapters
    "record_samples",
    "resume",
    "run_name",
    "runs_folder",
    "validate_every_n_steps",
    "validation.",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
    """One training.

    Attributes:
        name: Of its run's folder.
        max_steps: Optimiser steps.
        seed: Of its order of samples and its draws.
        overrides: Of ``conf/train.yaml``.
    """

    name: str
    max_steps: int
    seed: int
    overrides: list[str]

    @classmethod
    def read(cls, name: str, given: Mapping[str, Any]) -> "Stage":
        """Read a stage of the configuration.

        Raises:
            InputError: If a setting is missing, unknown or of a wrong kind.
        """
        kinds = {"max_steps": int, "seed": int, "overrides": list}
        for key, kind in kinds.items():
            if type(given.get(key)) is not kind:
                raise InputError(f"stages.{name}.{key}={given.get(key)}; give a {kind.__name__}")
        unknown = sorted(set(given) - set(kinds))
        if unknown:
            raise InputError(f"stages.{name}.{unknown[0]} is unknown; there are {', '.join(kinds)}")
        return cls(name=name, **given)


def run_settings(run: Path) -> dict[str, Any]:
    """Return the settings that a run noted, ``config.yaml``.

    Raises:
        InputError: If it is missing or damaged.
    """
    path = run / "config.yaml"
    try:
        settings: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read; train {run} anew") from error
    return settings


def samples_by_mode(run: Path) -> dict[str, int]:
    """Return how many samples of each mode a run that reached its end has seen."""
    settings = run_settings(run)
    given = {k: v for k, v in settings["alternation"].items() if not k.startswith("_")}
    pattern, steps = ModePattern(**given), settings["max_steps"]
    batch = settings["global_batch"]
    return {mode.value: pattern.earlier_steps(steps, mode) * batch for mode in Mode}


def stage_log(stage: Stage, run: Path) -> StageLog:
    """Return where a stage's figures were logged."""
    return StageLog(
        name=stage.name,
        metrics=run / "metrics.csv",
        global_batch=run_settings(run)["global_batch"],
        max_steps=stage.max_steps,
    )


def require_same_settings(run: Path, command: Command) -> None:
    """Refuse a run that was trained with other settings than a command of ``train.py`` has.

    Places and logging are left out of the comparison. Where there is no run, nothing is refused.

    Raises:
        InputError: Naming the first setting that differs, with both values.
    """
    if not (run / "config.yaml").is_file():
        return
    wanted = _flat(plain(compose_config("train", command[1:])))
    found = _flat(run_settings(run))
    if (wanted["init_from"] is None) != (found["init_from"] is None):
        raise InputError(
            f"{run} started with init_from={found['init_from']}, wanted is {wanted['init_from']}; "
            "remove that run"
        )
    # What others are interpolated from comes first.
    for key in sorted(wanted.keys() | found.keys(), key=lambda key: (key.count("."), key)):
        if not key.startswith(_BESIDE) and wanted.get(key) != found.get(key):
            raise InputError(
                f"{run} was trained with {key}={found.get(key)}, wanted is {wanted.get(key)}; "
                "change the setting, or remove that run"
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
