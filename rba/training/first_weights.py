"""What a run's network begins with, and which of its parts are trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from rba.errors import InputError
from rba.models.checkpoint import (
    BASE_KEY,
    CHECKPOINT_KEY,
    holds_all,
    network_state,
    read_checkpoint,
)
from rba.models.lora import LoraSettings
from rba.models.network import RefinementNetwork
from rba.models.origins import weight_origins
from rba.models.restore import describe_base, frozen_state, load_start, require_same_base
from rba.models.trained_parts import (
    choose_trained,
    require_first_weights,
    require_used_inputs,
    trained_names,
)
from rba.training.check import trained_line

_SAME = ("rank", "alpha", "targets")  # of the adapters, through a whole run


def needs_first_weights(start: Path | None) -> bool:
    """Return whether first weights are loaded: not where a checkpoint holds all of them."""
    return start is None or not holds_all(read_checkpoint(start))


def require_fitting_choice(config: Mapping[str, Any], start: Path | None) -> None:
    """Refuse parts that cannot be trained, or not from this checkpoint on; reads no weight.

    Args:
        config: The composed configuration as plain containers.
        start: Checkpoint that the run resumes from.

    Raises:
        InputError: Naming the setting, with old and new value at a resume.
    """
    parts = config["train_parts"]
    if needs_first_weights(start):
        require_first_weights(parts, config["model"]["network"], config["init_from"])
    if start is None:
        return
    base = read_checkpoint(start)[CHECKPOINT_KEY].get(BASE_KEY)
    before = base["train_parts"] if base else None
    differing: list[str] = []
    if _in_order(before) != _in_order(parts):
        differing.append(f"train_parts was {before}, is {parts}")
    elif base and base["lora"]:
        differing += [
            f"lora.{name} was {base['lora'][name]}, is {config['lora'][name]}"
            for name in _SAME
            if base["lora"][name] != config["lora"][name]
        ]
    if base and (base["init_from"] is None) != (config["init_from"] is None):
        differing.append(f"init_from was {base['init_from']}, is {config['init_from']}")
    if differing:
        raise InputError(
            f"resuming {start}: {'; '.join(differing)}; its weights would not fit: set what it "
            "was, or start a new run from them with init_from=CKPT"
        )


def prepare_network(
    network: RefinementNetwork,
    config: Mapping[str, Any],
    lora: LoraSettings,
    start: Path | None,
) -> dict[str, Any]:
    """Load ``init_from``, choose the trained parts, and tell what checkpoints keep of the rest.

    Args:
        network: As the configuration builds it; changed in place.
        config: The composed configuration as plain containers.
        lora: Settings of the adapters.
        start: Checkpoint that the run resumes from.

    Returns:
        Facts for the run's checkpoints: ``origins`` and, with ``train_parts``, `describe_base`.

    Raises:
        InputError: If the weights do not fit, or would be frozen without being seen.
    """
    source, parts = config["init_from"], config["train_parts"]
    if source is not None and needs_first_weights(start):
        load_start(network, source, use_ema=config["init_weights"] == "ema")
    choose_trained(network, parts, lora)
    if getattr(rank_zero_only, "rank", 0) == 0:  # Lightning sets it on the function
        print(trained_line(network), flush=True)
    facts: dict[str, Any] = {"origins": _origins(config, start)}
    if parts is not None:
        require_used_inputs(network)
        facts[BASE_KEY] = describe_base(network, config, lora)
    return facts


def keep_trained(state: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    """Return a module's state without the tensors of its network that are not trained."""
    trained = {f"network.{name}" for name in trained_names(network)}
    return {
        key: value
        for key, value in state.items()
        if not key.startswith("network.") or key in trained
    }


def add_frozen(
    checkpoint: dict[str, Any], network: RefinementNetwork, facts: Mapping[str, Any]
) -> None:
    """Add to a checkpoint what is not in it because it was not trained, in place.

    Args:
        checkpoint: One of ours.
        network: With its first weights; its frozen tensors are taken.
        facts: Of this run, with the digests of those.

    Raises:
        InputError: If they are not those that the checkpoint's run began with.
    """
    if holds_all(checkpoint):
        return
    before, now = checkpoint[CHECKPOINT_KEY][BASE_KEY], facts.get(BASE_KEY)
    if now is not None:
        where = f"init_from={now['init_from']}" if now["init_from"] else "model.source"
        require_same_base(now["digests"], before["digests"], where)
    have = network_state(checkpoint)
    frozen = {n: v for n, v in frozen_state(network).items() if n not in have}
    checkpoint["state_dict"] |= {f"network.{name}": value for name, value in frozen.items()}


def _origins(config: Mapping[str, Any], start: Path | None) -> dict[str, Any]:
    kept = {} if start is None else read_checkpoint(start)[CHECKPOINT_KEY]
    if "origins" in kept:
        return kept["origins"]
    return weight_origins(config["model"]["network"], config["init_from"])


def _in_order(parts: list[str] | None) -> list[str] | None:
    return None if parts is None else sorted(parts)
