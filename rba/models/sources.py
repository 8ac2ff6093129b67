"""Build a diffusers or transformers part from a folder, a hub id, or its architecture alone."""

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rba.errors import InputError

Architecture = Mapping[str, Any]


def from_source(
    part: Any, source: str | None, architecture: Architecture | None, *, subfolder: str
) -> Any:
    """Load ``part`` with weights from ``source``, or build it with random weights.

    Args:
        part: A diffusers `ModelMixin` class.
        source: Local diffusers folder, or hub id; None = random weights.
        architecture: Keyword arguments of ``part``; where a source is given too, the source must
            agree with every one of them.
        subfolder: Where the part lies inside a diffusers folder.

    Raises:
        InputError: If neither is given, the source cannot be opened, or the two disagree.
    """
    if source is None:
        if architecture is None:
            raise InputError(f"{part.__name__} has neither a source nor an architecture; set one")
        refuse_unknown(part.__name__, architecture, inspect.signature(part.__init__).parameters)
        return part(**architecture)
    check_source(source, subfolder)
    try:
        config = part.load_config(source, subfolder=subfolder)
    except OSError as error:
        raise InputError(_cannot_open(part.__name__, source, subfolder, error)) from error
    require_same(part.__name__, source, architecture or {}, config)
    return load_pretrained(part, source, subfolder=subfolder)


def load_pretrained(part: Any, source: str, *, subfolder: str = "") -> Any:
    """Load a diffusers or transformers part whose weights must be whole.

    Both libraries fill missing weights with random ones (or none at all) and only log it.

    Raises:
        InputError: If the weights are missing, damaged or incomplete.
    """
    inside = {"subfolder": subfolder} if subfolder else {}
    try:
        loaded, report = part.from_pretrained(source, output_loading_info=True, **inside)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(_cannot_open(part.__name__, source, subfolder, error)) from error
    missing = sorted(report["missing_keys"])
    if missing:
        error = f"its weights lack {len(missing)} of the part's tensors, {missing[0]} first"
        raise InputError(_cannot_open(part.__name__, source, subfolder, error))
    return loaded


def refuse_unknown(name: str, architecture: Architecture, known: Iterable[str]) -> None:
    """Refuse settings that a part does not know.

    Raises:
        InputError: Naming them.
    """
    unknown = sorted(set(architecture) - set(known))
    if unknown:
        raise InputError(f"{name} knows no setting {', '.join(unknown)}")


def check_source(source: str, subfolder: str) -> None:
    """Refuse a source that looks like a local path and is not there (cheap: no weight is read).

    Raises:
        InputError: If the folder, or the part inside it, is missing.
    """
    path = Path(source)
    looks_local = source.startswith((".", "/", "~")) or source.count("/") != 1
    if path.is_dir():
        if subfolder and not (path / subfolder).is_dir():
            raise InputError(f"{path} holds no folder {subfolder}; is it a diffusers folder?")
    elif looks_local:
        raise InputError(f"{source} does not exist; give a local folder or a hub id OWNER/NAME")


def require_same(
    name: str, source: str, wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> None:
    """Refuse a source whose architecture differs from the configured one.

    Raises:
        InputError: Listing every differing setting with both values.
    """
    differing = [
        f"{key} is {_plain(found[key])!r} there, {_plain(value)!r} here"
        for key, value in wanted.items()
        if key in found and _plain(found[key]) != _plain(value)
    ]
    if differing:
        raise InputError(
            f"{name} of {source} has another architecture: {'; '.join(differing)}; "
            "choose the model configuration it was made with"
        )


def _plain(value: Any) -> Any:
    """Compare tuples, lists and OmegaConf lists alike."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(item) for item in value]


def _cannot_open(name: str, source: str, subfolder: str, error: object) -> str:
    where = f"{source}/{subfolder}" if subfolder else source
    reason = (str(error).splitlines() or ["unknown reason"])[0]
    return f"cannot open {name} in {where}: {reason}; give a complete local folder"
