"""Where first weights came from, and under which licence, as far as it is known."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rba.models.checkpoint import CHECKPOINT_KEY, read_checkpoint
from rba.models.shipped import resolve_model, shipped_models
from rba.models.start_weights import is_checkpoint

UNKNOWN = "unknown: ask the source"
RANDOM = "random weights, trained here"
CARD = "README.md"
FRONT_MATTER_KEY = "base_weights"

# Hub ids whose model cards state a licence.
_LICENCES = {
    r"(stable-diffusion-v1-5|runwayml|CompVis)/stable-diffusion-.*": "CreativeML OpenRAIL-M",
    r"facebook/dinov2-.*": "Apache-2.0",
}

Origins = dict[str, dict[str, str]]


def weight_origins(network: Mapping[str, Any], init_from: str | None) -> Origins:
    """Return ``{part: {"source", "licence"}}`` of the weights that a run begins with.

    Args:
        network: The group ``model.network``: parts with their ``source``.
        init_from: A model directory, a shipped model's name or a checkpoint; it wins. What its card
            says of the weights that it began with itself is handed on.

    Returns:
        Plain containers. Of a path on this machine only the last name is told.
    """
    if init_from is not None:
        return _of_start(init_from)
    parts = {name: part for name, part in network.items() if isinstance(part, Mapping)}
    return {
        name: {"source": _name(part["source"]), "licence": licence_of(part["source"])}
        if part.get("source")
        else {"source": RANDOM, "licence": ""}
        for name, part in parts.items()
    }


def licence_of(source: str) -> str:
    """Return the licence that is known of a hub id; of a local place nothing is."""
    if Path(source).exists():
        return UNKNOWN
    found = [text for pattern, text in _LICENCES.items() if re.fullmatch(pattern, source)]
    return found[0] if found else UNKNOWN


def _of_start(source: str) -> Origins:
    if is_checkpoint(source):
        facts = read_checkpoint(source)[CHECKPOINT_KEY]
        before = facts.get("origins", {})
        return {"model": {"source": _name(source), "licence": _together(before)}} | _of(before)
    folder = resolve_model(source)
    if folder in shipped_models().values():
        return {"model": {"source": f"{folder.name}, of this package", "licence": "Apache-2.0"}}
    before = _read_card(folder / CARD)
    return {"model": {"source": _name(source), "licence": _together(before)}} | _of(before)


def _of(before: Origins) -> Origins:
    return {name: origin for name, origin in before.items() if name != "model"}


def _together(origins: Origins) -> str:
    named = sorted({origin["licence"] for origin in origins.values()} - {""})
    return " and ".join(named) if named else UNKNOWN


def _read_card(path: Path) -> Origins:
    """Return what the front matter of an exported model's card says of its weights' origins."""
    text = path.read_text() if path.is_file() else ""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if match is None:
        return {}
    try:
        found: Any = yaml.safe_load(match.group(1))
    except yaml.YAMLError:  # somebody else's card
        return {}
    told = found.get(FRONT_MATTER_KEY, {}) if isinstance(found, dict) else {}
    return {
        str(name): {key: str(origin.get(key, "")) for key in ("source", "licence")}
        for name, origin in (told.items() if isinstance(told, dict) else ())
        if isinstance(origin, dict)
    }


def _name(source: str) -> str:
    """Return a source without the folders of this machine; hub ids stay."""
    local = source.startswith(("/", ".", "~")) or Path(source).exists()
    return Path(source).name if local else source
