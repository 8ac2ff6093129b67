"""A training checkpoint becomes a model directory."""

from pathlib import Path

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import CHECKPOINT_KEY, network_from_checkpoint, read_checkpoint


def export_checkpoint(checkpoint: Path, output: Path, *, use_ema: bool) -> None:
    """Write the network of a checkpoint as a diffusers pipeline folder (safetensors).

    The folder is written aside and renamed, so it is either whole or not there.

    Args:
        checkpoint: A ``.ckpt`` of a run.
        output: New or empty folder.
        use_ema: Averaged weights instead of the trained ones.

    Raises:
        InputError: If the checkpoint cannot be read or the folder is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output} already exists and is not empty; choose another folder")
    contents = read_checkpoint(checkpoint, verify=True)
    network, scheduler = network_from_checkpoint(contents, use_ema=use_ema)
    facts = contents[CHECKPOINT_KEY]
    pipeline = RefineByAlignPipeline.from_network(
        network, scheduler, image_size=facts["image_size"]
    )
    pipeline.write(output)
