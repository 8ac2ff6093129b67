"""What ``init_from`` names: a run's checkpoint or a model directory; no weight is read."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.models.checkpoint import CHECKPOINT_KEY, read_checkpoint
from rba.models.model_directory import describe_folder
from rba.models.parts import require_same_parts
from rba.models.shipped import INDEX_NAME, resolve_model
from rba.models.sources import require_same

WEIGHTS = ("ema", "raw")
# What weights were trained under; sampler settings (spacing, clipping) are the run's own.
SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")
_log = logging.getLogger(__name__)


def is_checkpoint(source: str | Path) -> bool:
    """Return whether a source is a run's checkpoint rather than a model directory."""
    return str(source).endswith(".ckpt") and not Path(source).is_dir()


def describe_start(source: str | Path) -> dict[str, dict[str, Any]]:
    """Return the parts' classes and configurations of a model directory or checkpoint.

    Args:
        source: A model directory, a shipped model's name, or a ``.ckpt`` of a run.

    Raises:
        InputError: If it is missing, damaged, or holds weights of another framework.
    """
    path = Path(source)
    single = path.is_file() and path.suffix == ".safetensors"
    if single or ((path / INDEX_NAME).is_file() and (path / "vae").is_dir()):
        raise InputError(
            f"init_from={source} holds weights of Stable Diffusion, not a model of this "
            f"framework: give model.source={source} and leave init_from out"
        )
    if is_checkpoint(source):
        return read_checkpoint(source)[CHECKPOINT_KEY]["network"]
    return describe_folder(source)


def require_fitting_weights(
    source: str | Path, wanted: Mapping[str, Mapping[str, Any]], *, weights: str = "ema"
) -> None:
    """Refuse weights of another architecture than the configured network's.

    Args:
        source: As in `describe_start`.
        wanted: `RefinementNetwork.describe` of the configured network.
        weights: ``ema`` or ``raw``, of a checkpoint.

    Raises:
        InputError: As `require_same_parts` does; or if ``weights`` is unknown or names what a
            model directory does not tell apart.
    """
    if weights not in WEIGHTS:
        raise InputError(f"init_weights={weights} is none of {', '.join(WEIGHTS)}")
    if weights == "raw" and not is_checkpoint(source):
        raise InputError(
            f"init_weights=raw goes with a .ckpt; init_from={source} holds one set of weights"
        )
    require_same_parts(str(source), describe_start(source), wanted)


def require_fitting_schedule(
    source: str | Path, scheduler: Mapping[str, Any], *, teaches: bool
) -> None:
    """Refuse weights that were trained under another noise schedule or to predict something else.

    Args:
        source: As in `describe_start`.
        scheduler: The configured schedule's settings, by diffusers' names.
        teaches: Whether the U-Net is trained whole: then another prediction type is a warning.

    Raises:
        InputError: Listing the differing settings with both values.
    """
    if is_checkpoint(source):
        found = read_checkpoint(source)[CHECKPOINT_KEY]["scheduler"]["config"]
    else:
        path = resolve_model(source) / "scheduler" / "scheduler_config.json"
        found = json.loads(path.read_text()) if path.is_file() else {}
    wanted = {name: scheduler[name] for name in SCHEDULE if name in scheduler}
    require_same("the scheduler", str(source), wanted, found)
    before, now = found.get("prediction_type"), scheduler.get("prediction_type")
    if before is None or now is None or before == now:
        return
    told = f"init_from={source} was trained to predict {before}, this run predicts {now}"
    if not teaches:
        raise InputError(f"{told}; give objective.prediction_type={before}")
    _log.warning("%s: it is taught that (objective.prediction_type)", told)
