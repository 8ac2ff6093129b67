"""Configuration: where `conf/` is, how it is composed, and how mistakes in it are reported.

The only room below the entry points that knows Hydra and OmegaConf.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rba.errors import InputError

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "conf"


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
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(describe_error(error)) from error
    return config


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
        InputError: As the part raised it, or where a setting is unknown to the part.
    """
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, InputError):
            raise cause from None
        if isinstance(cause, TypeError):
            raise InputError(describe_error(error)) from error
        raise


@contextlib.contextmanager
def user_errors() -> Generator[None]:
    """Print an `InputError` as one line and leave with status 2; let everything else through."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
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
    try:
        OmegaConf.resolve(config)
        OmegaConf.merge(OmegaConf.structured(TrainSettings), config)
    except OmegaConfBaseException as error:
        raise InputError(describe_error(error)) from error
    for name in ("max_steps", "global_batch", "per_device_batch", "validate_every_n_steps"):
        if config[name] < 1:
            raise InputError(f"{name}={config[name]} must be at least 1")


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
