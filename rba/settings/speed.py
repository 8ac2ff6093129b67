"""Settings of precision, memory and speed that contradict each other or the machine."""

import importlib.util

import torch
from omegaconf import DictConfig

from rba.errors import InputError

# Half floats would need their losses scaled, which hides from us what is not finite.
_PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "bf16-true", "64-true", "64")


def check_speed_settings(config: DictConfig) -> None:
    """Refuse settings of a training that cannot go together or that this machine cannot do.

    Raises:
        InputError: Naming the settings and the way out.
    """
    trainer, speed = config.trainer, config.callbacks.get("speed") or {}
    precision = str(trainer.get("precision", "32-true"))
    if precision not in _PRECISIONS:
        raise InputError(
            f"trainer.precision={precision}; give 32-true, bf16-mixed or bf16-true (float16 would "
            "need its losses scaled, which the skipping of non-finite updates cannot see through)"
        )
    eight_bit = str(config.optimizer.get("factory", {}).get("_target_")).endswith("adamw_8bit")
    if eight_bit and speed.get("channels_last"):
        raise InputError(
            "optimizer=adamw_8bit with callbacks.speed.channels_last=true: bitsandbytes takes no "
            "account of how a tensor lies in memory; give optimizer=adamw, or false"
        )
    cache = config.callbacks.get("encoding_cache") or {}
    if cache.get("training") and config.data.get("examples_per_sample") is None:
        raise InputError(
            "callbacks.encoding_cache.training=true, but crop, hole, warp and colours of a sample "
            "are drawn anew in each epoch, so that nothing would ever be used again; give "
            "data.examples_per_sample=1 (or a few), or training=false (validation is cached then)"
        )
    if str(trainer.get("strategy", "auto")) == "fsdp":
        _check_sharded(config, eight_bit)
    if speed.get("compile") == "inductor":
        _require_compiler(str(trainer.get("accelerator", "auto")))


def _check_sharded(config: DictConfig, eight_bit: bool) -> None:
    """Refuse what takes no parameters in shards."""
    callbacks, precision = config.callbacks, config.trainer.get("precision")
    refused = {
        "callbacks.speed.channels_last=true": (
            (callbacks.get("speed") or {}).get("channels_last"),
            "parameters in shards must be contiguous; give false",
        ),
        "optimizer=adamw_8bit": (
            eight_bit,
            "bitsandbytes knows no parameters in shards; give optimizer=adamw, whose moments are "
            "in shards",
        ),
        "train_parts": (
            config.train_parts is not None,
            "parts are spread whole, trained or not; give trainer=ddp",
        ),
        "callbacks.ema.device=cpu": (
            (callbacks.get("ema") or {}).get("device") == "cpu",
            "the average is in shards already; give null",
        ),
        "trainer.precision=bf16-true": (
            precision == "bf16-true",
            "shards are kept in float32; give bf16-mixed",
        ),
    }
    for setting, (is_set, reason) in refused.items():
        if is_set:
            raise InputError(f"{setting} with trainer.strategy=fsdp: {reason}")


def _require_compiler(accelerator: str) -> None:
    """Refuse inductor where what it writes cannot be compiled: at a step it would be too late."""
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())
    if on_gpu:
        if importlib.util.find_spec("triton") is None:
            raise InputError(
                "callbacks.speed.compile=inductor needs triton on a GPU: pip install triton, or "
                "give null"
            )
        return
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as error:
        raise InputError(
            "callbacks.speed.compile=inductor needs a C++ compiler on the CPU: install g++, or "
            "give null"
        ) from error
