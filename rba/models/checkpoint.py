"""Training checkpoints: read, and compared with a network (`rba.models.restore` makes one).

A checkpoint (``.ckpt``) describes its own network under the key ``rba``, so it can be exported
without the configuration that made it.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from rba.errors import InputError
from rba.models.network import RefinementNetwork
from rba.models.parts import describe_part, differing_settings

CHECKPOINT_KEY = "rba"
EMA_KEY = "ema"
BASE_KEY = "base"  # of the facts: what the weights that are not in the file are
_NEEDED_KEYS = ("state_dict", "global_step")
_NEEDED_FACTS = ("network", "scheduler", "reference_size", "train_encoder", "image_size")


def describe_scheduler(scheduler: SchedulerMixin) -> dict[str, Any]:
    """Return a scheduler's class name and configuration as plain containers."""
    return describe_part(scheduler)  # pyright: ignore


def build_scheduler(description: Mapping[str, Any]) -> Any:
    """Invert `describe_scheduler`."""
    return getattr(diffusers, description["class"]).from_config(description["config"])


def read_checkpoint(path: str | Path, *, verify: bool = False) -> dict[str, Any]:
    """Read a training checkpoint with ``weights_only=True``.

    Args:
        path: The file. Its weights are mapped, not read.
        verify: Read all of it once and hold it to its check sums.

    Raises:
        InputError: If the file is missing, damaged or not one of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"checkpoint {path} does not exist; a run keeps them in runs/NAME/checkpoints"
        )
    try:
        if not zipfile.is_zipfile(path):  # torch's own words would be about mmap
            raise ValueError("it is damaged or was cut short")
        if verify and zipfile.ZipFile(path).testzip() is not None:
            raise ValueError("its check sums do not fit: it is damaged")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as a checkpoint: {reason}; take an older one"
        ) from error
    missing = _missing_keys(checkpoint)
    if missing:
        raise InputError(
            f"{path} is not a checkpoint of this framework (no key {missing[0]!r}); a run keeps "
            "them in runs/NAME/checkpoints"
        )
    return checkpoint


def _missing_keys(checkpoint: Any) -> list[str]:
    """Return what `network_from_checkpoint`, resuming and `rba export` need and is not there."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get(CHECKPOINT_KEY), dict):
        return [CHECKPOINT_KEY]
    missing = [key for key in _NEEDED_KEYS if key not in checkpoint]
    return missing or [key for key in _NEEDED_FACTS if key not in checkpoint[CHECKPOINT_KEY]]


def require_same_network(path: str | Path, network: RefinementNetwork) -> None:
    """Refuse to resume from a checkpoint of another network; reads no weight.

    Args:
        path: The checkpoint.
        network: The configured network, on any device.

    Raises:
        InputError: If the checkpoint cannot be read, or listing the differing settings.
    """
    facts = read_checkpoint(path)[CHECKPOINT_KEY]
    differing = differing_settings(facts["network"], network.describe())
    for name in ("reference_size", "train_encoder"):
        here = getattr(network, name)
        if facts[name] != here:
            differing.append(f"{name} is {facts[name]} there, {here} here")
    if differing:
        raise InputError(
            f"{path} holds another network: {'; '.join(differing)}; resume with the configuration "
            "of its run, or start a new run from exported weights with init_from=DIR"
        )


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the network's tensors of a checkpoint by name: all, or what was trained alone."""
    prefix = "network."
    return {
        key.removeprefix(prefix): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(prefix)
    }


def holds_all(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint holds all weights, not only what was trained."""
    return BASE_KEY not in checkpoint[CHECKPOINT_KEY]


def averaged_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the EMA weights by parameter name (without the prefix ``network.``).

    Raises:
        InputError: If the run kept no average.
    """
    for state in checkpoint.get("callbacks", {}).values():
        if isinstance(state, dict) and EMA_KEY in state:
            return dict(zip(state["names"], state[EMA_KEY]["shadow_params"], strict=True))
    raise InputError(
        "the checkpoint holds no averaged weights; use --raw for the trained ones "
        "(init_weights=raw where training starts from it)"
    )
