"""Configuration: where `conf/` is, how it is composed, and how mistakes in it are reported.

The only room below the entry points that knows Hydra and OmegaConf.
"""

import contextlib
import dataclasses
import inspect
import os
import pydoc
import sys
import types
import typing
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rba.errors import InputError, command_message

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "conf"
_KINDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
}


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose ``conf/NAME.yaml`` with overrides and check that nothing is left unset.

    Args:
        name: Path below `conf/` without suffix: ``train`` or ``data_tools/render_objects``.
        overrides: Hydra overrides such as ``seed=1``.

    Raises:
        InputError: If a key is unknown, a value does not fit, or a ``???`` is left unset.
    """
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            config = compose(name, overrides=list(overrides))
        require_complete(config)
        OmegaConf.resolve(config)
    # Hydra refuses some overrides (`data=null`, `=1`) with a bare ValueError.
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(describe_error(error)) from error
    hold_to_defaults(config, OmegaConf.load(CONFIG_FOLDER / f"{name}.yaml"))
    return config


def hold_to_defaults(config: Any, defaults: Any) -> None:
    """Hold a flat configuration to the kinds of its defaults; one made of groups passes.

    A setting whose default is null or ``???`` is a path: ``out=5`` means the folder "5".

    Raises:
        InputError: Naming the setting that is unknown or of another kind.
    """
    if "defaults" in defaults:
        return
    unknown = sorted(set(config) - set(defaults))
    if unknown:
        raise InputError(f"unknown setting {unknown[0]}; there are {', '.join(sorted(defaults))}")
    for key, default in plain(defaults).items():
        if default in (None, "???"):
            config[key] = None if config[key] is None else str(config[key])
        elif not _same_kind(plain(config)[key], default):
            kind = _KINDS[type(default)]
            raise InputError(f"{key}={config[key]} must be {kind}, as in {key}={default}")


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, list):
        pattern = default[:1]
        return isinstance(value, list) and all(_same_kind(v, d) for v in value for d in pattern)
    return _is_kind(value, type(default))


def _is_kind(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float)
    return type(value) is kind


def require_complete(config: DictConfig) -> None:
    """Refuse a configuration that still holds ``???``.

    Raises:
        InputError: Naming every key that must be set.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        example = " ".join(f"{key}=VALUE" for key in missing)
        raise InputError(f"must be set: {', '.join(missing)}; add to the command: {example}")


def plain(config: Any) -> Any:
    """Return a configuration as plain dicts and lists, resolved."""
    return OmegaConf.to_container(config, resolve=True)


def describe_error(error: BaseException) -> str:
    """Return Hydra's messages along the chain of causes, shortest useful form."""
    parts: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        text = " ".join(str(cause).split())
        if text and text not in " ".join(parts):
            parts.append(text)
        cause = cause.__cause__
    return "; ".join(parts)


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
        if value is not None and kinds and not any(_is_kind(value, kind) for kind in kinds):
            names = " or ".join(_KINDS[kind] for kind in kinds)
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
        if all(kind in _KINDS or kind is types.NoneType for kind in kinds):
            wanted[name] = [kind for kind in kinds if kind is not types.NoneType]
    return wanted


@contextlib.contextmanager
def user_errors() -> Generator[None]:
    """Print a user's mistake as one line and leave with status 2; let a bug's traceback through."""
    try:
        yield
    except Exception as error:
        message = command_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from None


def tool_main(name: str, main: Callable[[DictConfig], None]) -> None:
    """Run a data tool: compose ``conf/data_tools/NAME.yaml`` with the command line's overrides.

    ``--help`` prints the settings with their comments.
    """
    path = CONFIG_FOLDER / "data_tools" / f"{name}.yaml"
    arguments = sys.argv[1:]
    if any(argument in ("-h", "--help") for argument in arguments):
        print(f"usage: python data_tools/{name}.py key=value ...\n\n{path.read_text()}", end="")
        return
    with user_errors():
        main(compose_config(f"data_tools/{name}", arguments))


@dataclasses.dataclass
class TrainSettings:
    """Types of the settings of `conf/train.yaml`; groups are checked by what they build."""

    run_name: str
    runs_folder: str
    seed: int
    max_steps: int
    global_batch: int
    per_device_batch: int
    validate_every_n_steps: int
    resume: str | None
    init_from: str | None
    check: bool
    record_samples: bool
    model: dict[str, Any]
    data: dict[str, Any]
    alternation: dict[str, Any]
    objective: dict[str, Any]
    optimizer: dict[str, Any]
    validation: dict[str, Any]
    trainer: dict[str, Any]
    callbacks: dict[str, Any]
    logger: dict[str, Any]


def check_train_settings(config: DictConfig) -> None:
    """Hold a composed training configuration against `TrainSettings` and resolve it in place.

    Raises:
        InputError: If a value is unset or of the wrong type, a key is unknown, or a count is not
            positive.
    """
    require_complete(config)
    for name in ("runs_folder", "resume", "init_from"):
        if isinstance(config[name], str):
            config[name] = os.path.expanduser(config[name])
    try:
        typed: Any = OmegaConf.merge(OmegaConf.structured(TrainSettings), config)
        require_complete(typed)
        for name, value in typed.items():
            if not isinstance(value, DictConfig):
                config[name] = value  # run_name=7 means the text
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        raise InputError(describe_error(error)) from error
    for name in ("max_steps", "global_batch", "per_device_batch", "validate_every_n_steps"):
        if config[name] < 1:
            raise InputError(f"{name}={config[name]} must be at least 1")
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed={config.seed} must lie in 0 to 2**32 - 1")


def without_sources(network: DictConfig) -> DictConfig:
    """Return a network's configuration with every ``source`` null: random weights, same shapes."""
    copy: Any = OmegaConf.create(plain(network))
    for part in copy.values():
        if isinstance(part, DictConfig) and "source" in part:
            part.source = None
    return copy


def require_sources(network: DictConfig) -> None:
    """Refuse a configuration whose pretrained parts are not where it says; reads no weight.

    Raises:
        InputError: Naming the part, the path and the way out.
    """
    from rba.models.sources import check_source

    subfolders = {"autoencoder": "vae", "encoder": "", "unet": "unet"}
    for name, subfolder in subfolders.items():
        source = network[name].get("source")
        if source is not None:
            try:
                check_source(source, subfolder)
            except InputError as error:
                raise InputError(f"model.network.{name}.source: {error}") from None
