"""Where `conf/` is, how it is composed, and how mistakes in it are reported."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rba.errors import InputError
from rba.settings.kinds import KINDS, is_kind

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "conf"


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
        check_config(name, config)
    # Hydra refuses some overrides (`data=null`, `=1`) with a bare ValueError.
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise InputError(describe_error(error)) from error
    return config


def check_config(name: str, config: DictConfig) -> None:
    """Resolve what was composed of ``conf/NAME.yaml`` and hold it to its defaults.

    Raises:
        InputError: If a key is unknown, a value does not fit, or a ``???`` is left unset.
    """
    require_complete(config)
    OmegaConf.resolve(config)
    hold_to_defaults(config, OmegaConf.load(CONFIG_FOLDER / f"{name}.yaml"))


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
            kind = KINDS[type(default)]
            raise InputError(f"{key}={config[key]} must be {kind}, as in {key}={default}")


def _same_kind(value: Any, default: Any) -> bool:
    if isinstance(default, list):
        pattern = default[:1]
        return isinstance(value, list) and all(_same_kind(v, d) for v in value for d in pattern)
    return is_kind(value, type(default))


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
