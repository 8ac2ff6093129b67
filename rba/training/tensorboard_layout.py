"""The charts of TensorBoard's tab "Custom scalars": each has the lines that belong together."""

from collections.abc import Sequence

from lightning.pytorch.loggers import Logger, TensorBoardLogger

from rba.batch import Mode

_MODES = "|".join(Mode)

# Category: chart: regular expressions of the tags of its lines.
LAYOUT: dict[str, dict[str, list[str]]] = {
    "training": {
        "loss": [rf"^train/loss_({_MODES})$"],
        "loss in the hole": [r"^train/loss_in_hole_"],
        "loss of the encoder": [r"^train/loss_correspondence_"],
        **{f"loss by timestep, {mode}": [rf"^train_by_timestep/loss_{mode}_"] for mode in Mode},
        "gradient norm before clipping": [r"^train/gradient_norm"],
        "learning rates": [r"^train/lr_"],
    },
    "validation": {
        "mIoU at the chosen layer": [rf"^validation/miou_({_MODES})$"],
        "loss": [rf"^validation/loss_({_MODES})$"],
        **{f"mIoU by layer, {mode}": [rf"^validation_by_layer/.*_{mode}$"] for mode in Mode},
    },
    "machine": {
        "samples a second": [r"^speed/samples_per_second$"],
        "share of time waiting for data": [r"^speed/data_wait_share$"],
        "memory, GiB": [r"^memory/"],
    },
    "data": {
        "epochs": [r"^data/epochs_"],
        "bad samples replaced": [r"^data/bad_"],
        "updates left out": [r"^train/skipped_updates$"],
    },
}


def log_layout(loggers: Sequence[Logger]) -> None:
    """Write the layout into the event file of each TensorBoard logger."""
    charts = {
        category: {title: ["Multiline", tags] for title, tags in of_category.items()}
        for category, of_category in LAYOUT.items()
    }
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(charts)
