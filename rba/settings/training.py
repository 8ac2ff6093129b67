"""The settings of a training: their types, and what must hold before anything is built."""

import dataclasses
import os
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rba.errors import InputError
from rba.settings.composition import describe_error, plain, require_complete
from rba.settings.speed import check_speed_settings


@dataclasses.dataclass
class TrainSettings:
    """Types of the settings of `conf/train.yaml`; groups are checked by what they build."""

    run_name: str
    runs_folder: str
    seed: int
    max_steps: int
    global_batch: int
    per_device_batch: int
    validate_every_n_steps: int
    resume: str | None
    accept_changes: list[str]
    init_from: str | None
    init_weights: str
    train_parts: list[str] | None
    check: bool
    record_samples: bool
    model: dict[str, Any]
    data: dict[str, Any]
    alternation: dict[str, Any]
    objective: dict[str, Any]
    optimizer: dict[str, Any]
    validation: dict[str, Any]
    lora: dict[str, Any]
    trainer: dict[str, Any]
    callbacks: dict[str, Any]
    logger: dict[str, Any]


def check_train_settings(config: DictConfig) -> None:
    """Hold a composed training configuration against `TrainSettings` and resolve it in place.

    Raises:
        InputError: If a value is unset or of the wrong type, a key is unknown, a count is not
            positive, a requeued run would not resume, or settings contradict each other.
    """
    require_complete(config)
    for name in ("runs_folder", "resume", "init_from"):
        if isinstance(config[name], str):
            config[name] = os.path.expanduser(config[name])
    try:
        typed: Any = OmegaConf.merge(OmegaConf.structured(TrainSettings), config)
        require_complete(typed)
        for name, value in typed.items():
            if not isinstance(value, DictConfig):
                config[name] = value  # run_name=7 means the text
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise InputError(describe_error(error)) from error
    for name in ("max_steps", "global_batch", "per_device_batch", "validate_every_n_steps"):
        if config[name] < 1:
            raise InputError(f"{name}={config[name]} must be at least 1")
    taught, noised = config.objective.get("prediction_type"), config.model.get("scheduler", {})
    if noised.get("prediction_type", taught) != taught:
        raise InputError(
            f"objective.prediction_type={taught} but model.scheduler.prediction_type="
            f"{noised.prediction_type}; set the first alone, the second follows it"
        )
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed={config.seed} must lie in 0 to 2**32 - 1")
    preemption = config.callbacks.get("preemption")
    if preemption and preemption.get("requeue") and config.resume != "auto":
        raise InputError(
            f"callbacks.preemption.requeue=true runs the same command again, which resume="
            f"{config.resume} would not continue; give resume=auto"
        )
    check_speed_settings(config)
    _require_launched(config.trainer)


def _require_launched(trainer: DictConfig) -> None:
    """Refuse a sweep in which Lightning would start processes, each with a sweep of its own."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    devices = trainer.devices
    if devices in ("auto", -1, "-1"):
        devices = max(torch.cuda.device_count(), 1)
    count = devices if isinstance(devices, int) else len(devices)
    started = any(name in os.environ for name in ("TORCHELASTIC_RUN_ID", "LOCAL_RANK"))
    tasks = [int(os.environ.get(f"{n}_NTASKS", 1)) for n in ("SLURM", "SUBMITIT_LOCAL")]
    if count > 1 and not started and max(tasks) == 1:
        raise InputError(
            f"--multirun with trainer.devices={trainer.devices}: give hydra/launcher="
            f"submitit_slurm (or submitit_local on this machine) hydra.launcher.tasks_per_node="
            f"{count}, or start each run with a command of its own"
        )


def without_sources(network: DictConfig) -> DictConfig:
    """Return a network's configuration with every ``source`` null: random weights, same shapes."""
    copy: Any = OmegaConf.create(plain(network))
    for part in copy.values():
        if isinstance(part, DictConfig) and "source" in part:
            part.source = None
    return copy


def require_sources(model: DictConfig, *, look_up: bool = True) -> None:
    """Refuse a configuration whose pretrained parts are missing or others; reads no weight.

    Args:
        model: The group ``model``; headers and configurations of its sources are read, the latter
            from the hub where the source is a hub id that is not in the cache.
        look_up: Ask the hub; otherwise such sources are named and passed over.

    Raises:
        InputError: Naming the part, the source and the way out.
    """
    from rba.models.start_sources import check_sources

    check_sources(plain(model.network), plain(model.scheduler), look_up=look_up)
