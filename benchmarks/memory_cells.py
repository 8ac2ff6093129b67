"""The trainings whose memory is measured: a scale, a batch, levers; and one step of each."""

import contextlib
import ctypes
import dataclasses
import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from training_module import make_module
from training_scales import SCALES, Stream

from rba.models.trained_parts import choose_trained
from rba.settings import build, compose_config, plain, without_sources
from rba.training.check import on_meta
from rba.training.memory import MemorySettings, memory_estimate
from rba.training.module import RefineByAlignModule
from rba.training.run import make_trainer
from rba.training.storage_count import StorageCount

STEPS = 2  # the second has the gradients and moments of the first
_CHECKPOINTING = "callbacks.speed.gradient_checkpointing=true"
_EIGHT_BIT = "optimizer=adamw_8bit"
_FROZEN = "callbacks.speed.frozen_dtype=bfloat16"
LEVERS: dict[str, list[str]] = {  # beside the precision
    "no lever": [],
    "gradient checkpointing": [_CHECKPOINTING],
    "frozen parts in bfloat16": [_FROZEN],
    "channels-last": ["callbacks.speed.channels_last=true"],
    "AdamW not fused": ["optimizer.factory.fused=null"],
    "8-bit AdamW": [_EIGHT_BIT],
    "average on the CPU": ["callbacks.ema.device=cpu"],
    "two micro-batches": ["accumulation=2"],
    "DDP, one process": ["+trainer.strategy=ddp"],
    "latents and tokens kept": [
        "data.examples_per_sample=1",
        "callbacks.encoding_cache.gigabytes=1",
        "callbacks.encoding_cache.training=true",
    ],
    "compiled blocks": ["callbacks.speed.compile=inductor"],
    "LoRA": ["train_parts=[lora]", "init_from=x"],
    "LoRA, gradient checkpointing": ["train_parts=[lora]", "init_from=x", _CHECKPOINTING],
    "all that save": [_CHECKPOINTING, _FROZEN, _EIGHT_BIT, "callbacks.ema.device=cpu"],
}
_SHARDS = ["data.alignment.shards=a", "data.refinement.shards=b"]


def compose(cell: Mapping[str, Any], without: Sequence[str] = ()) -> tuple[Any, int]:
    """Return the paper's settings of a cell, and its micro-batches a step.

    Args:
        cell: ``scale``, ``image_size``, ``batch``, ``precision``, ``lever``, ``device``.
        without: Settings of the lever to leave out.
    """
    lever, accumulation = [one for one in LEVERS[cell["lever"]] if one not in without], 1
    if "accumulation=2" in lever:
        lever, accumulation = [], 2
    chosen = ["experiment=paper", "trainer=cpu", f"trainer.accelerator={cell['device']}", *_SHARDS]
    chosen += [*SCALES[cell["scale"]][1], f"model.image_size={cell['image_size']}"]
    chosen += [f"trainer.precision={cell['precision']}", f"per_device_batch={cell['batch']}"]
    config = compose_config(
        "train", [*chosen, "optimizer.warmup_steps=0", "trainer.devices=1", *lever]
    )
    if config.train_parts is not None:
        config.optimizer.learning_rates = {"lora": 1e-4}
    return config, accumulation


def adapted_module(config: Any, network: Any) -> RefineByAlignModule:
    """Wire the module around a network of which the configured parts are trained."""
    choose_trained(network, config.train_parts, build(config.lora))
    return make_module(config, network)


def estimate(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``check=true`` says of a cell, GiB."""
    config, accumulation = compose(cell, without=(_EIGHT_BIT,))  # which may not be installed
    outline = on_meta(lambda: build(without_sources(config.model.network)))
    settings = dataclasses.replace(
        MemorySettings.of(plain(config), 1, accumulation),
        eight_bit=_EIGHT_BIT in LEVERS[cell["lever"]],
    )
    return memory_estimate(adapted_module(config, outline), settings)


def measure(cell: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """Train some steps through the trainer and return what was held at most, GiB.

    Call it in a process of its own.

    Returns:
        On a CPU ``tensors`` (every storage, counted) and ``process`` (what the kernel gave the
        process at most, less what it had after training with few pixels: libraries, and code that
        oneDNN makes); on a GPU ``tensors``
        (allocated) and ``process`` (reserved) of torch's allocator, and ``device`` (all that the
        device has given away, the context included).
    """
    config, accumulation = compose(cell)
    scratch.mkdir(parents=True, exist_ok=True)
    config.callbacks.skip_non_finite.path = str(scratch / "non_finite.jsonl")
    if cell["device"] == "cpu":
        warm, once = compose({**cell, "scale": "tiny", "image_size": 64, "batch": 1})
        warm.callbacks.skip_non_finite.path = config.callbacks.skip_non_finite.path
        _train(warm, once, 1)
    gc.collect()
    if cell["device"] == "cpu":
        ctypes.CDLL(None).malloc_trim(0)
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    count = StorageCount() if cell["device"] == "cpu" else None
    with count or contextlib.nullcontext():
        _train(config, accumulation, int(cell["batch"]))
    if count is not None:
        return {"tensors": count.most / 2**30, "process": (_memory("VmHWM") - before) / 2**30}
    free, total = torch.cuda.mem_get_info()
    return {
        "tensors": torch.cuda.max_memory_allocated() / 2**30,
        "process": torch.cuda.max_memory_reserved() / 2**30,
        "device": (total - free) / 2**30,
        "name": torch.cuda.get_device_name(),
    }


def _train(config: Any, accumulation: int, batch: int) -> None:
    torch.manual_seed(0)
    module = adapted_module(config, build(without_sources(config.model.network)))
    wanted = ("speed", "encoding_cache", "skip_non_finite", "ema")
    trainer = make_trainer(
        plain(config.trainer) | {"enable_progress_bar": False, "limit_val_batches": 0},
        callbacks=[build(config.callbacks[name]) for name in wanted],
        loggers=[],
        max_steps=STEPS,
        validate_every_n_steps=STEPS,
        accumulation=accumulation,
        samples_file=None,
    )
    stream = Stream(config.model.image_size, config.model.reference_size, batch)
    trainer.fit(module, DataLoader(stream, batch_size=None))


def _memory(name: str) -> int:
    """Return a line of this process's status, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc/self/status has no {name}")
