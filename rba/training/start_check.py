"""Whether a run can start from a checkpoint or model directory; no weight is read."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rba.batch import Mode
from rba.data.stream_facts import fact_differences
from rba.errors import InputError
from rba.models.checkpoint import CHECKPOINT_KEY, read_checkpoint, require_same_network
from rba.models.network import RefinementNetwork
from rba.models.start_weights import require_fitting_schedule, require_fitting_weights
from rba.training.changed_settings import Change, changed_settings
from rba.training.first_weights import require_fitting_choice

_PLAIN = ("seed", "global_batch")
_ACCEPTED = (
    *_PLAIN,
    "alternation",
    "data.node_parts",
    *(f"data.{mode.value}.{name}" for mode in Mode for name in ("shards", "shuffle_window")),
)
# Under another of these the weights or the optimiser's moments would mean something else.
_FIXED = ("model.image_size", "model.scheduler.", "objective.prediction_type",
          "optimizer.factory._target_")  # fmt: skip
_log = logging.getLogger(__name__)


def require_fitting_start(
    network: RefinementNetwork, start: Path | None, facts: Mapping[str, Any]
) -> list[Change]:
    """Refuse a checkpoint or model directory of another network or stream; reads no weight.

    Args:
        network: Built on the meta device.
        start: Checkpoint that the run resumes from; it wins over ``init_from``.
        facts: What this run's checkpoints would keep (`checkpoint_facts`). Its configuration's
            ``accept_changes`` names settings that may differ from the checkpoint's.

    Returns:
        Settings that differ from the checkpoint's and take effect from its step on.

    Raises:
        InputError: Listing the differing settings.
    """
    config = facts["config"]
    unknown = sorted(set(config["accept_changes"]) - set(_ACCEPTED))
    if unknown:
        raise InputError(f"accept_changes: {unknown[0]} is none of {', '.join(_ACCEPTED)}")
    require_fitting_choice(config, start)
    if start is not None:
        require_same_network(start, network)
        _require_same_stream(start, facts)
        before = read_checkpoint(start)[CHECKPOINT_KEY].get("config", {})
        changes = changed_settings(before, config)
        _require_same_meaning(start, changes)
        return changes
    if config["init_from"] is not None:
        source, parts = config["init_from"], config["train_parts"]
        weights = config["init_weights"]
        require_fitting_weights(source, network.describe(), weights=weights)
        teaches = parts is None or "unet" in parts
        require_fitting_schedule(source, config["model"]["scheduler"], teaches=teaches)
    return []


def _require_same_meaning(start: Path, changes: list[Change]) -> None:
    fixed = [c for c in changes if c.setting.startswith(_FIXED) and c.old is not None]
    if fixed:
        raise InputError(
            f"resuming {start}: {'; '.join(map(str, fixed))}; set what it was, or start a new run "
            "from exported weights with init_from=DIR"
        )


def _require_same_stream(start: Path, facts: Mapping[str, Any]) -> None:
    """Refuse to go on with other samples: the step alone says which come next."""
    checkpoint, accepted = read_checkpoint(start), facts["config"]["accept_changes"]
    differences = list(_differences(checkpoint[CHECKPOINT_KEY], facts))
    refused = [(key, text) for key, text in differences if key not in accepted]
    if refused:
        keys = ",".join(dict.fromkeys(key for key, _ in refused))
        raise InputError(
            f"resuming {start}: {'; '.join(text for _, text in refused)}; samples would be "
            "repeated and left out: set what it was, or go on in spite of that with "
            f"'accept_changes=[{keys}]', or start a new run from exported weights with "
            "init_from=DIR"
        )
    if differences:
        _log.warning(
            "resuming %s with accepted changes: %s; from step %d on the samples are those that a "
            "run with the new settings has from there on, so some of the epochs in progress are "
            "repeated or left out",
            start, "; ".join(text for _, text in differences), checkpoint["global_step"],
        )  # fmt: skip


def _differences(facts: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (setting, what differs); what an older checkpoint does not tell is not compared."""
    before, config = facts.get("config", {}), now["config"]
    for key in _PLAIN:
        if key in before and before[key] != config[key]:
            yield key, f"{key} was {before[key]}, is {config[key]}"
    pattern = before.get("alternation", {})
    for key, value in config["alternation"].items():
        if key in pattern and pattern[key] != value:
            yield "alternation", f"alternation.{key} was {pattern[key]}, is {value}"
    if "stream" in facts:
        yield from fact_differences(facts["stream"], now["stream"])
