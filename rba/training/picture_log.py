"""Pictures to every logger that takes some."""

from collections.abc import Sequence

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger


def log_picture(loggers: Sequence[Logger], name: str, picture: np.ndarray, step: int) -> None:
    """Log an HxWx3 uint8 picture under a name; loggers of figures alone pass it over."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=step)
