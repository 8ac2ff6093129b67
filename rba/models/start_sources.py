"""Whether a configuration's pretrained parts are there and are the configured ones."""

import contextlib
import logging
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from huggingface_hub import try_to_load_from_cache

from rba.errors import InputError
from rba.models.diffusers_parts import check_part
from rba.models.encoder import check_encoder
from rba.models.sources import cannot_open, check_source, is_single_file, require_same
from rba.models.start_weights import SCHEDULE

_log = logging.getLogger(__name__)

_PARTS: dict[str, tuple[Any, str]] = {
    "autoencoder": (AutoencoderKL, "vae"),
    "unet": (UNet2DConditionModel, "unet"),
}


def check_sources(
    network: Mapping[str, Any], scheduler: Mapping[str, Any], *, look_up: bool = True
) -> None:
    """Hold all sources of a configured network to its architecture; no weight is read.

    Args:
        network: Settings by part, each with ``source`` and ``architecture`` where it has weights.
        scheduler: Settings of the noise schedule.
        look_up: Ask the hub for what is not in the cache; otherwise such sources are named in a
            warning and passed over.

    Raises:
        InputError: Naming the part, the source and the way out.
    """
    settings = {
        name: part
        for name, part in network.items()
        if name in (*_PARTS, "encoder") and part.get("source") is not None
    }
    for name, part in settings.items():
        with _naming(name):
            check_source(part["source"], _PARTS[name][1] if name in _PARTS else "")
    if not look_up:
        settings = {name: part for name, part in settings.items() if _is_here(name, part)}
    for name, part in settings.items():
        source, architecture = part["source"], part.get("architecture")
        with _naming(name):
            if name in _PARTS:
                kind, subfolder = _PARTS[name]
                check_part(kind, source, architecture, subfolder=subfolder)
            else:
                check_encoder(source, architecture)
    if "unet" in settings:
        with _naming("unet"):
            check_schedule(settings["unet"]["source"], scheduler)


def check_schedule(source: str, scheduler: Mapping[str, Any]) -> None:
    """Refuse a folder or hub id whose noise schedule is not the configured one.

    A single file states no schedule: the configured one holds. Another prediction type than the
    weights' is a warning, for it can be taught.

    Args:
        source: Local diffusers folder, single file, or hub id.
        scheduler: The configured schedule's settings, by diffusers' names.

    Raises:
        InputError: If it cannot be read, or listing the differing settings.
    """
    if is_single_file(source):
        return
    check_source(source, "scheduler")
    try:
        found: Any = DDIMScheduler.load_config(source, subfolder="scheduler")
    except OSError as error:
        raise InputError(cannot_open("the scheduler", source, "scheduler", error)) from error
    wanted = {name: scheduler[name] for name in SCHEDULE if name in scheduler}
    require_same("the scheduler", source, wanted, found)
    before, now = found.get("prediction_type", "epsilon"), scheduler.get("prediction_type")
    if now is not None and before != now:
        _log.warning(
            "%s was trained to predict %s; this run teaches it %s (objective.prediction_type)",
            source, before, now,
        )  # fmt: skip


def _is_here(name: str, part: Mapping[str, Any]) -> bool:
    """Return whether a part can be checked without the network; say so where it cannot."""
    source = part["source"]
    file = f"{_PARTS[name][1]}/config.json" if name in _PARTS else "config.json"
    here = Path(source).exists() or isinstance(try_to_load_from_cache(source, file), str)
    if not here:
        _log.warning(
            "model.network.%s.source=%s is not on this machine: its configuration is not checked",
            name, source,
        )  # fmt: skip
    return here


@contextlib.contextmanager
def _naming(part: str) -> Generator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"model.network.{part}.source: {error}") from None
