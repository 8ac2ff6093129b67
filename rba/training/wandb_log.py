"""Weights & Biases beside the run's own files; needs the extra ``wandb``."""

import importlib.util
import os
import secrets
from pathlib import Path
from typing import Any

import yaml
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment

from rba.errors import InputError, RunStoppedError

RUN_ID = "wandb_run_id.txt"


class ResumableWandbLogger(WandbLogger):
    """`WandbLogger` whose run on the server goes on when this run is resumed.

    The server's id of the run is kept in ``wandb_run_id.txt`` of the run's folder, which holds
    all the same figures: Weights & Biases only shows them. Steps that are done again after a kill
    are shown twice there. ``WANDB_MODE=offline`` sends nothing; `wandb sync` does later.

    Args:
        folder: The run's folder; ``config.yaml`` in it becomes the run's configuration.
        project: Name of the project.
        **settings: Others of `wandb.init`, such as ``entity``, ``tags``, ``notes``.

    Raises:
        InputError: If the package is not installed, or has no API key and is to send.
    """

    def __init__(self, folder: str | Path, project: str, **settings: Any) -> None:
        if importlib.util.find_spec("wandb") is None:
            raise InputError(
                "logger=wandb needs a package that is not installed: "
                "pip install 'refine-by-align[wandb]' (or pip install wandb)"
            )
        _require_key()
        self.folder = Path(folder)
        name = settings.pop("name", self.folder.name)
        super().__init__(name=name, project=project, save_dir=self.folder, **settings)
        self._wandb_init.pop("anonymous", None)  # the package warns of it, whatever it is

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run, begun or continued when it is first asked for."""
        if self._experiment is None:
            path = self.folder / RUN_ID
            self.folder.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(secrets.token_hex(8))
            self._wandb_init["id"] = self._id = path.read_text().strip()
            config = self.folder / "config.yaml"
            if config.is_file():
                self._wandb_init["config"] = yaml.safe_load(config.read_text())
        import wandb

        try:
            return super().experiment
        except wandb.Error as error:
            raise RunStoppedError(
                f"Weights & Biases did not start: {error}; WANDB_MODE=offline asks no server"
            ) from error


def _require_key() -> None:
    import wandb

    if os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled"):
        return
    if not wandb.login(prompt=False, verify=False):
        raise InputError(
            "logger=wandb has no API key: run `wandb login`, set WANDB_API_KEY, or set "
            "WANDB_MODE=offline and `wandb sync` later"
        )
