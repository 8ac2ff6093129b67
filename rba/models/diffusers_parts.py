"""diffusers' parts of a source, held to the configured architecture before a weight is read."""

import inspect
from typing import Any

from diffusers import UNet2DConditionModel

from rba.errors import InputError
from rba.models.single_file import check_single_file, family_of, load_single_file
from rba.models.sources import (
    Architecture,
    cannot_open,
    check_source,
    is_single_file,
    load_pretrained,
    refuse_unknown,
    require_input_channels,
    require_same,
)


def from_source(
    part: Any, source: str | None, architecture: Architecture | None, *, subfolder: str
) -> Any:
    """Load ``part`` with weights from ``source``, or build it with random weights.

    Args:
        part: A diffusers `ModelMixin` class.
        source: Local diffusers folder, single file (`rba.models.single_file`), or hub id; None =
            random weights.
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
    check_part(part, source, architecture, subfolder=subfolder)
    if is_single_file(source):
        return load_single_file(part, source, architecture)
    return load_pretrained(part, source, subfolder=subfolder)


def check_part(
    part: Any, source: str, architecture: Architecture | None, *, subfolder: str
) -> dict[str, Any]:
    """Refuse a source whose ``part`` is not the configured one; reads headers and configurations.

    Args:
        part: A diffusers `ModelMixin` class.
        source: Local diffusers folder, single file, or hub id.
        architecture: Settings that the source must have where it states them; a U-Net may have
            fewer input channels (`rba.models.unet.widen_input`).
        subfolder: Where the part lies inside a diffusers folder.

    Returns:
        The source's configuration; of a single file, the architecture.

    Raises:
        InputError: If the source cannot be opened, or listing the differing settings.
    """
    wanted = dict(architecture or {})
    if is_single_file(source):
        check_single_file(part, source, architecture)
        return wanted
    check_source(source, subfolder)
    try:
        config = part.load_config(source, subfolder=subfolder)
    except OSError as error:
        raise InputError(cannot_open(part.__name__, source, subfolder, error)) from error
    if part is UNet2DConditionModel:
        if "in_channels" in config:
            require_input_channels(source, config["in_channels"], wanted)
        wanted.pop("in_channels", None)
        width, here = config.get("cross_attention_dim"), wanted.get("cross_attention_dim")
        if here is not None and width != here:
            raise InputError(
                f"the U-Net of {source} is of {family_of(width)}, this configuration of "
                f"{family_of(here)}: cross_attention_dim is {width} there, {here} here"
            )
    require_same(part.__name__, source, wanted, config)
    return config
