"""Build the parts that a configuration names, its settings held to the parts' annotations."""

import inspect
import pydoc
import types
import typing
from collections.abc import Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from rba.errors import InputError
from rba.settings.composition import describe_error, plain
from rba.settings.kinds import KINDS, is_kind


def build(node: DictConfig) -> Any:
    """Instantiate a ``_target_`` node; its parts get plain lists and dicts.

    A checkpoint that held OmegaConf containers would not load with ``weights_only=True``.

    Raises:
        InputError: As the part raised it, or where a setting is unknown to the part, of another
            kind than the part's annotation says, or refused by it.
    """
    path = node._get_full_key(None)  # pyright: ignore
    if "_target_" not in node:
        raise InputError(f"{path} has no _target_, so nothing can be built of it; set or remove it")
    _require_annotated_kinds(plain(node), path)
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        if isinstance(cause, AssertionError):
            raise
        _, named, key = str(error).rpartition("full_key: ")
        where = f"{key.strip()}: " if named else ""
        raise InputError(f"{where}{describe_error(cause or error)}") from error


def _require_annotated_kinds(node: Any, key: str) -> None:
    """Hold numbers, flags, texts and lists of all ``_target_`` nodes to their annotations."""
    wanted = _annotations(node)
    for name, value in node.items():
        path = f"{key}.{name}".strip(".")
        if isinstance(value, dict):
            _require_annotated_kinds(value, path)
        kinds = wanted.get(name)
        if value is not None and kinds and not any(is_kind(value, kind) for kind in kinds):
            names = " or ".join(KINDS[kind] for kind in kinds)
            raise InputError(f"{path}={value} must be {names}")


def _annotations(node: dict[str, Any]) -> dict[str, list[type]]:
    """Return the kinds that the target of a node demands of the settings it is given."""
    try:
        parameters = inspect.signature(pydoc.locate(node["_target_"]), eval_str=True).parameters  # pyright: ignore
    except (KeyError, NameError, TypeError, ValueError, pydoc.ErrorDuringImport):
        return {}  # nothing is known; an unknown target is refused when it is built
    rest = [p for p in parameters.values() if p.kind is inspect.Parameter.VAR_KEYWORD]
    wanted: dict[str, list[type]] = {}
    for name in node:
        parameter = parameters.get(name, rest[0] if rest else None)
        if parameter is None or name.startswith("_"):
            continue
        hint: Any = parameter.annotation
        union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        allowed: list[Any] = [
            typing.get_origin(k) or k for k in (typing.get_args(hint) if union else [hint])
        ]
        kinds = [list if kind in (tuple, Sequence) else kind for kind in allowed]
        if all(kind in KINDS or kind is types.NoneType for kind in kinds):
            wanted[name] = [kind for kind in kinds if kind is not types.NoneType]
    return wanted
