"""From settings to a Lightning trainer, and the description that ``check=true`` prints."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.strategies.launchers.subprocess_script import (
    _SubprocessScriptLauncher,  # pyright: ignore
)
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from rba.errors import InputError, RunInterruptedError, RunStoppedError
from rba.host_memory import keep_freed_memory
from rba.models.checkpoint import read_checkpoint
from rba.training.callbacks.sample_recorder import SampleRecorder
from rba.training.changed_settings import Change
from rba.training.check import batch_arithmetic, count_parts, report
from rba.training.checkpoint_io import AtomicCheckpointIO
from rba.training.launch_check import require_fitting_launch, tell_place
from rba.training.memory import MemorySettings, memory_estimate
from rba.training.module import RefineByAlignModule
from rba.training.precision import WholeBfloat16
from rba.training.strategies import CopiesStrategy, ShardsStrategy


def world_size(settings: Mapping[str, Any]) -> int:
    """Return how many devices ``trainer.devices`` and ``trainer.num_nodes`` mean on this machine.

    Raises:
        InputError: If a setting cannot be understood.
    """
    devices, nodes = settings["devices"], settings["num_nodes"]
    if not isinstance(nodes, int) or nodes < 1:
        raise InputError(f"trainer.num_nodes={nodes!r}: give the number of machines, 1 or more")
    if devices in ("auto", -1, "-1"):
        return max(torch.cuda.device_count(), 1) * nodes
    if isinstance(devices, int) and devices > 0:
        return devices * nodes
    if isinstance(devices, Sequence) and not isinstance(devices, str) and devices:
        return len(devices) * nodes
    raise InputError(f"trainer.devices={devices!r}: give a count, a list of indices, or auto")


def checkpoint_facts(config: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Return what each checkpoint keeps of a run beside its weights, in plain containers.

    Args:
        config: The composed configuration as plain containers.
        data: The data module, whose ``stream_facts()`` say what its stream depends on.
    """
    image_size = config["model"]["image_size"]
    return {"config": config, "image_size": image_size, "stream": data.stream_facts()}


def make_trainer(
    settings: Mapping[str, Any],
    *,
    callbacks: list[Callback],
    loggers: list[Logger],
    max_steps: int,
    validate_every_n_steps: int,
    accumulation: int,
    samples_file: Path | None,
) -> Trainer:
    """Build the trainer: one infinite epoch, counted in optimiser steps.

    Raises:
        InputError: If the machine lacks what ``trainer`` asks for.
    """
    if samples_file is not None:
        callbacks = [SampleRecorder(samples_file), *callbacks]  # before one that ends the run
    _quieten()
    nodes = settings["num_nodes"]
    require_fitting_launch(os.environ, world_size(settings) // nodes, nodes)
    tell_place(os.environ)
    clip = settings.get("gradient_clip_val")
    if isinstance(clip, (int, float)) and clip < 0:
        raise InputError(f"trainer.gradient_clip_val={clip} would climb; give 0 (off) or more")
    if settings.get("accelerator") == "cpu" or not torch.cuda.is_available():
        keep_freed_memory()
    left, precision = dict(settings), list[Any]()
    if left.get("precision") == "bf16-true":
        precision = [WholeBfloat16(left.pop("precision"))]
    try:
        return Trainer(
            **_with_strategy(left),
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO(), *precision],
            max_steps=max_steps,
            max_epochs=-1,
            accumulate_grad_batches=accumulation,
            val_check_interval=validate_every_n_steps * accumulation,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            enable_checkpointing=False,  # ResumeCheckpoint saves
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise InputError(
            f"trainer settings: {error}; conf/trainer/ has settings that work"
        ) from error


def purge_later_events(loggers: Sequence[Logger], step: int) -> None:
    """Let TensorBoard hide what a killed run logged after the step that a run resumes from."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger._kwargs["purge_step"] = step + 1  # pyright: ignore  # for its SummaryWriter


_STRATEGIES = {"ddp": CopiesStrategy, "fsdp": ShardsStrategy}


def _with_strategy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the strategies of several processes their time limits: a lost rank must end the run."""
    left = dict(settings)
    limits = {
        "timeout": left.pop("process_group_timeout", None),
        "grace": left.pop("lost_rank_grace", None),
    }
    make = _STRATEGIES.get(str(left.get("strategy")))
    if make is None:
        if any(seconds is not None for seconds in limits.values()):
            raise InputError(
                "trainer.process_group_timeout and trainer.lost_rank_grace go with "
                f"trainer.strategy=ddp or fsdp, not {left.get('strategy')}; set them to null"
            )
        return left
    given = {name: _DEFAULTS[name] if x is None else x for name, x in limits.items()}
    for name, seconds in given.items():
        if not isinstance(seconds, (int, float)) or seconds <= 0:
            raise InputError(f"trainer.{_SETTINGS[name]}={seconds!r}; give seconds above 0")
    return left | {"strategy": make(**given)}


_DEFAULTS = {"timeout": 900.0, "grace": 60.0}  # seconds
_SETTINGS = {"timeout": "process_group_timeout", "grace": "lost_rank_grace"}


# What gloo says, as a plain RuntimeError, where another process is gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out wait")


def fit(trainer: Trainer, module: RefineByAlignModule, **options: Any) -> None:
    """Train; where another rank ended, say so instead of how the connection to it broke.

    Where a signal ended the run, a process that Lightning launched leaves with status 0: with
    another one Lightning might kill the first process before that leaves with its own.

    Raises:
        RunInterruptedError: If a signal ended the run.
        RunStoppedError: If another rank is gone.
    """
    if (start := options.get("ckpt_path")) is not None:
        purge_later_events(trainer.loggers, int(read_checkpoint(start)["global_step"]))
    try:
        trainer.fit(module, **options)
    except RunInterruptedError:
        launches = isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)
        if not launches or trainer.local_rank == 0:
            raise
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(
            words in str(error) for words in _LOST
        )
        if trainer.world_size == 1 or not lost:
            raise
        raise RunStoppedError(
            f"rank {trainer.global_rank} lost another rank, whose own message tells why it ended; "
            "resume=auto goes on from the last checkpoint"
        ) from error


def describe(
    outline: RefineByAlignModule,
    data: Any,
    config: Mapping[str, Any],
    num_devices: int,
    start: Path | None,
    changes: Sequence[Change] = (),
) -> str:
    """Say what would run: parameters by part, batches an epoch, memory; trains nothing.

    Args:
        outline: The module around a network on the meta device.
        data: The data module; its ``describe()`` gives samples and batches.
        config: The composed configuration as plain containers.
        num_devices: Devices over all nodes.
        start: Checkpoint that the run would resume from.
        changes: Settings that differ from that checkpoint's.
    """
    parts = {
        name: f"{total:,} parameters, {f'{trained:,} trained' if trained else 'frozen'}"
        for name, (total, trained) in count_parts(outline.network).items()
    }
    accumulation = data.accumulation(num_devices)
    settings = MemorySettings.of(config, num_devices, accumulation)
    return report(
        {
            "run": f"{config['runs_folder']}/{config['run_name']}",
            "starts from": str(start or config["init_from"] or "step 0"),
            **({"changed": {c.setting: f"{c.old} -> {c.new}" for c in changes}} if changes else {}),
            "optimiser steps": config["max_steps"],
            "batch": batch_arithmetic(config, num_devices, accumulation),
            "parts": parts,
            "data": data.describe(),
            "memory a device, estimated GiB": memory_estimate(outline, settings),
        }
    )


def _quieten() -> None:
    """Drop what the libraries say at every start and a user can do nothing about."""
    # The stream starts at the step by itself: there is no loader state to restore.
    warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")
    # Lightning 2.6 on newer torch versions.
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    # No validation shards are a choice; `check=true` names what there is.
    warnings.filterwarnings("ignore", message="Total length of .list. across ranks is zero.*")
    # Sharded DINOv2: its pooled output is a view that nothing changes in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor.*")
    # num_workers is the user's own setting; 0 is right for small runs.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    # Advertisements and "GPU available: False".
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.WARNING)
