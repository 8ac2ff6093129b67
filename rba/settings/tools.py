"""Run a command or a data tool: a mistake is one line; parts of a job by Hydra's launchers."""

import contextlib
import os
import sys
from collections.abc import Callable, Generator

import hydra
from omegaconf import DictConfig

from rba.errors import command_message, exit_status
from rba.settings.composition import CONFIG_FOLDER, check_config, compose_config

_MULTIRUN = ("-m", "--multirun")


@contextlib.contextmanager
def user_errors() -> Generator[None]:
    """Print a mistake (status 2) or a fault of the world (3) as one line; let a bug through."""
    try:
        yield
    except Exception as error:
        message = command_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(exit_status(error)) from None


def tool_main(name: str, main: Callable[[DictConfig], None]) -> None:
    """Run a data tool: compose ``conf/data_tools/NAME.yaml`` with the command line's overrides.

    ``--help`` prints the settings with their comments. ``--multirun`` runs a job for each value of
    a swept setting (``'part=range(0,8)'``), by Hydra's own launchers (``hydra/launcher=joblib``).
    """
    path = CONFIG_FOLDER / "data_tools" / f"{name}.yaml"
    arguments = sys.argv[1:]
    if any(argument in ("-h", "--help") for argument in arguments):
        print(f"usage: python data_tools/{name}.py key=value ...\n\n{path.read_text()}", end="")
        return
    with user_errors():
        if any(argument in _MULTIRUN for argument in arguments):
            _run_jobs(f"data_tools/{name}", main)
        else:
            main(compose_config(f"data_tools/{name}", arguments))


def _run_jobs(name: str, main: Callable[[DictConfig], None]) -> None:
    def job(config: DictConfig) -> None:
        check_config(name, config)
        main(config)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us; Hydra would print and leave
    hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=name)(job)()
