"""Where pretrained parts come from: a folder, a hub id or a single file; whole, or refused."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from safetensors import SafetensorError

from rba.errors import InputError

Architecture = Mapping[str, Any]

_SINGLE_FILES = (".safetensors", ".ckpt")


def is_single_file(source: str) -> bool:
    """Return whether a source names a single file of weights rather than a folder or hub id."""
    return source.endswith(_SINGLE_FILES) and not Path(source).is_dir()


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
        raise InputError(cannot_open(part.__name__, source, subfolder, error)) from error
    missing = sorted(report["missing_keys"])
    if missing:
        error = f"its weights lack {len(missing)} of the part's tensors, {missing[0]} first"
        raise InputError(cannot_open(part.__name__, source, subfolder, error))
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
    if is_single_file(source):
        if not path.is_file():
            raise InputError(f"{source} does not exist; give a file, a local folder or a hub id")
        return
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


def require_input_channels(source: str, found: int, wanted: Mapping[str, Any]) -> None:
    """Refuse a U-Net whose input is neither the noisy latents alone nor the configured one.

    Args:
        source: Where it comes from.
        found: Its input channels.
        wanted: The configured architecture.

    Raises:
        InputError: With the numbers that fit.
    """
    fitting = {wanted.get(name, found) for name in ("in_channels", "out_channels")}
    if found not in fitting:
        raise InputError(
            f"the U-Net of {source} has {found} input channels; "
            f"{' or '.join(map(str, sorted(fitting)))} fit this configuration"
        )


def _plain(value: Any) -> Any:
    """Compare tuples, lists and OmegaConf lists alike."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(item) for item in value]


def cannot_open(name: str, source: str, subfolder: str, error: object) -> str:
    """Return the message that a part of a folder or hub id cannot be opened, with the way out."""
    where = f"{source}/{subfolder}" if subfolder else source
    reason = (str(error).splitlines() or ["unknown reason"])[0]
    return f"cannot open {name} in {where}: {reason}; {way_out(source)}"


def way_out(source: str) -> str:
    """Say how a source that cannot be opened becomes one that can."""
    if constants.HF_HUB_OFFLINE and not Path(source).exists():
        return (
            "HF_HUB_OFFLINE=1 reads the cache alone: fill it once online with "
            f"`hf download {source}`, or give a complete local folder"
        )
    return "give a complete local folder"
