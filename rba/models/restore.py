"""A network made again: from a training checkpoint, or from the weights that a run begins with.

The checkpoint of a run with ``train_parts`` holds what was trained alone, and tells by source and
digest which weights the rest has (`describe_base`). Both kinds give a whole network here.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from rba.errors import InputError
from rba.models.autoencoder import load_autoencoder
from rba.models.checkpoint import (
    BASE_KEY,
    CHECKPOINT_KEY,
    averaged_weights,
    build_scheduler,
    network_state,
    read_checkpoint,
)
from rba.models.encoder import load_encoder
from rba.models.lora import LoraSettings, has_lora, merge_lora
from rba.models.model_directory import load_weights
from rba.models.network import PARTS, RefinementNetwork
from rba.models.parts import build_part
from rba.models.start_weights import is_checkpoint, require_fitting_weights
from rba.models.trained_parts import choose_trained, frozen_digests, trained_names
from rba.models.unet import load_unet

_LOADERS: dict[str, Any] = {
    "autoencoder": load_autoencoder,
    "encoder": load_encoder,
    "unet": load_unet,
}


def network_from_checkpoint(
    checkpoint: Mapping[str, Any], *, use_ema: bool, base: str | None = None
) -> tuple[RefinementNetwork, Any]:
    """Rebuild network and scheduler from a checkpoint that `read_checkpoint` returned.

    Adapters are merged into the weights.

    Args:
        checkpoint: The checkpoint.
        use_ema: Take the averaged weights for the trained parameters.
        base: Where the weights lie now that the run began with; None = where they lay then.

    Raises:
        InputError: If averaged weights are wanted and there are none, it holds no whole network, or
            the weights that it began with are not there or others.
    """
    facts = checkpoint[CHECKPOINT_KEY]
    state = network_state(checkpoint)
    if use_ema:
        state |= averaged_weights(checkpoint)
    try:
        parts: dict[str, Any] = {name: build_part(facts["network"][name]) for name in PARTS}
        network = RefinementNetwork(
            **parts, reference_size=facts["reference_size"], train_encoder=facts["train_encoder"]
        )
        if BASE_KEY in facts:
            _load_base(network, facts[BASE_KEY], base)
            state |= frozen_state(network)
        network.load_state_dict(state)
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the checkpoint holds no whole network: {reason}; was it written by another version?"
        ) from error
    if has_lora(network.unet):
        merge_lora(network.unet)
    return network.eval(), build_scheduler(facts["scheduler"])


def load_start(network: RefinementNetwork, source: str, *, use_ema: bool) -> None:
    """Copy weights of ``init_from`` into a network of the same architecture.

    Args:
        network: Without adapters; changed in place.
        source: A model directory, a shipped model's name, or a run's ``.ckpt``, whose adapters are
            merged.
        use_ema: Of a ``.ckpt`` the averaged weights.

    Raises:
        InputError: If it cannot be read or does not fit.
    """
    if not is_checkpoint(source):
        load_weights(network, source)
        return
    require_fitting_weights(source, network.describe())
    whole, _ = network_from_checkpoint(read_checkpoint(source, verify=True), use_ema=use_ema)
    network.load_state_dict(whole.state_dict())


def describe_base(
    network: RefinementNetwork, config: Mapping[str, Any], lora: LoraSettings | None
) -> dict[str, Any]:
    """Return what a checkpoint that holds the trained parameters alone keeps of the others.

    Args:
        network: With its first weights, its parts chosen.
        config: The run's configuration in plain containers.
        lora: The adapters' settings.

    Returns:
        Plain containers: ``train_parts``, ``lora``, ``init_from``, ``init_weights``, ``sources`` of
        parts that were loaded without ``init_from``, and ``digests`` of what is frozen.
    """
    settings = config["model"]["network"] if config["init_from"] is None else {}
    return {
        "train_parts": list(config["train_parts"]),
        "lora": lora.plain() if "lora" in config["train_parts"] and lora else None,
        "init_from": config["init_from"],
        "init_weights": config["init_weights"],
        "sources": {
            name: {key: settings[name].get(key) for key in ("source", "architecture")}
            for name in _LOADERS
            if name in settings and settings[name].get("source") is not None
        },
        "digests": frozen_digests(network),
    }


def require_same_base(now: Mapping[str, Any], digests: Mapping[str, str], where: str) -> None:
    """Refuse frozen weights that are not those of a run's start.

    Args:
        now: Digests by part, as `frozen_digests` gives them.
        digests: Those of the run's start.
        where: What is refused, for the message.

    Raises:
        InputError: Naming the parts.
    """
    others = [part for part in digests if now.get(part) != digests[part]]
    if others:
        raise InputError(
            f"{where}: the frozen weights of {', '.join(others)} are not those that the run began "
            "with; give the same ones"
        )


def frozen_state(network: RefinementNetwork) -> dict[str, Tensor]:
    """Return the tensors of a network that are not trained, by name."""
    trained = trained_names(network)
    return {name: value for name, value in network.state_dict().items() if name not in trained}


def _load_base(network: RefinementNetwork, facts: Mapping[str, Any], moved: str | None) -> None:
    """Load what a run began with, choose its parts, and hold the rest to its digests."""
    source = moved or facts["init_from"]
    if source is not None:
        try:
            load_start(network, source, use_ema=facts["init_weights"] == "ema")
        except InputError as error:
            raise InputError(
                f"the run began with {source}: {error}; give the place where those weights lie "
                "now with --base"
            ) from error
    for name, settings in facts["sources"].items() if source is None else ():
        loaded = _LOADERS[name](settings["source"], settings["architecture"])
        getattr(network, name).load_state_dict(loaded.state_dict())
    lora = LoraSettings(**facts["lora"]) if facts["lora"] else None
    choose_trained(network, facts["train_parts"], lora)
    require_same_base(
        frozen_digests(network), facts["digests"], source or "the sources of the run's parts"
    )
