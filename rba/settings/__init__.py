"""Configuration: where `conf/` is, how it is composed, checked and built, and how commands run.

The only room below the entry points that knows Hydra and OmegaConf.
"""

from rba.settings.composition import (
    CONFIG_FOLDER,
    compose_config,
    describe_error,
    hold_to_defaults,
    plain,
    require_complete,
)
from rba.settings.parts import build
from rba.settings.tools import tool_main, user_errors
from rba.settings.training import (
    TrainSettings,
    check_train_settings,
    require_sources,
    without_sources,
)

__all__ = [
    "CONFIG_FOLDER",
    "TrainSettings",
    "build",
    "check_train_settings",
    "compose_config",
    "describe_error",
    "hold_to_defaults",
    "plain",
    "require_complete",
    "require_sources",
    "tool_main",
    "user_errors",
    "without_sources",
]
