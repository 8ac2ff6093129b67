"""The diffusers pipeline: a model directory on disk, both stages behind one call."""

import contextlib
import json
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline
from torch import nn

from rba.errors import InputError
from rba.inference.align import AlignmentSettings
from rba.inference.refine import refine_many
from rba.inference.request import RefinementRequest, RefinementResult, RefinementSettings
from rba.inference.sampler import StepCallback

# A pipeline folder records these classes by module path and diffusers imports no module by itself:
# importing them here is part of the file format.
from rba.models.autoencoder import PatchAutoencoder as PatchAutoencoder
from rba.models.connector import Connector as Connector
from rba.models.model_directory import load_parts
from rba.models.network import RefinementNetwork
from rba.models.shipped import INDEX_NAME, resolve_model


@contextlib.contextmanager
def without_library_bars() -> Generator[None]:
    """Silence the progress bars that diffusers and transformers draw for every file."""
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    for library in libraries:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in libraries:
            library.enable_progress_bar()


class RefineByAlignPipeline(DiffusionPipeline):
    """Refine local artifacts of generated images after a reference (Refine-by-Align).

    Args:
        autoencoder: `AutoencoderKL` or `PatchAutoencoder`.
        encoder: `Dinov2Model`, or another of `rba.models.encoder`.
        connector: `Connector`.
        unet: `UNet2DConditionModel`.
        scheduler: Any diffusers scheduler; DDIM by default.
        image_size: Side of the crop at the network in pixels.
        reference_size: Side of the reference in pixels.
        sampler_step_index: t* of the calibration; 0 = the FIRST, noisiest sampler step.
        layer: l* of the calibration, in execution order.
        num_inference_steps: T, which says what ``sampler_step_index`` counts.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        encoder: nn.Module,
        connector: nn.Module,
        unet: nn.Module,
        scheduler: Any,
        # diffusers takes every argument without a default for a module of the pipeline
        image_size: int = 512,
        reference_size: int = 224,
        sampler_step_index: int = 0,
        layer: int = 9,
        num_inference_steps: int = 50,
    ) -> None:
        super().__init__()
        self.register_modules(
            autoencoder=autoencoder,
            encoder=encoder,
            connector=connector,
            unet=unet,
            scheduler=scheduler,
        )
        self.register_to_config(
            image_size=image_size,
            reference_size=reference_size,
            sampler_step_index=sampler_step_index,
            layer=layer,
            num_inference_steps=num_inference_steps,
        )

    @classmethod
    def open(cls, folder: str | Path) -> "RefineByAlignPipeline":
        """Open a model directory offline, in float32 whatever precision it was written in.

        Args:
            folder: A model directory, or the name of a model that comes with the package (`tiny`).

        Raises:
            InputError: If the folder is missing or not a model directory of this framework.
        """
        folder = resolve_model(folder)
        try:
            with without_library_bars():
                # Loaded by our own loader: diffusers would fill weights that are missing.
                parts = load_parts(folder)
                return cls.from_pretrained(str(folder), **parts, local_files_only=True)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{folder} cannot be opened: {str(error).splitlines()[0]}") from error

    def write(self, folder: Path) -> None:
        """Write the model directory aside and put it in place of an empty or older one.

        The same weights and settings give the same bytes, wherever they came from.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with without_library_bars():
                self.save_pretrained(partial, safe_serialization=True)
            for path in sorted(partial.rglob("*.json")):
                _make_portable(path)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def write_settings(self, folder: Path) -> None:
        """Write sizes and calibration into a model directory of this pipeline.

        Its weights, in whatever precision they were written, and all other files stay.
        """
        partial = folder / ".settings.partial"
        try:
            self.save_config(partial)
            _make_portable(partial / INDEX_NAME)
            (partial / INDEX_NAME).replace(folder / INDEX_NAME)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @classmethod
    def from_network(
        cls, network: RefinementNetwork, scheduler: Any, *, image_size: int, **calibration: int
    ) -> "RefineByAlignPipeline":
        """Make a pipeline of a network; ``calibration`` as in the constructor."""
        return cls(
            autoencoder=network.autoencoder,
            encoder=network.encoder,
            connector=network.connector,
            unet=network.unet,
            scheduler=scheduler,
            image_size=image_size,
            reference_size=network.reference_size,
            **calibration,
        )

    @property
    def network(self) -> RefinementNetwork:
        """The container over this pipeline's parts, in evaluation mode (no copy of weights)."""
        return RefinementNetwork(
            self.autoencoder,
            self.encoder,
            self.connector,
            self.unet,
            reference_size=self.config["reference_size"],
        ).eval()

    def settings(self, **changes: Any) -> RefinementSettings:
        """Return refinement settings with the calibrated step and layer filled in."""
        config = self.config
        calibrated: dict[str, Any] = {
            "image_size": config["image_size"],
            "alignment": AlignmentSettings(
                sampler_step_index=config["sampler_step_index"],
                layer=config["layer"],
                num_inference_steps=config["num_inference_steps"],
            ),
        }
        return RefinementSettings(**(calibrated | changes))

    @torch.no_grad()
    def __call__(
        self,
        requests: RefinementRequest | Sequence[RefinementRequest],
        settings: RefinementSettings | None = None,
        *,
        generator: torch.Generator | None = None,
        callback: StepCallback | None = None,
    ) -> list[RefinementResult]:
        """Align and refine.

        Args:
            requests: One or several; images of any size.
            settings: Default: `settings()`.
            generator: Source of all noise; None keys it by seed and request.
            callback: Called after each sampler step.

        Returns:
            One result a request.
        """
        if isinstance(requests, RefinementRequest):
            requests = [requests]
        return refine_many(
            self.network,
            self.scheduler,
            requests,
            settings or self.settings(),
            generator=generator,
            callback=callback,
        )


def _make_portable(path: Path) -> None:
    """Take out of a written configuration what holds on this machine or for one part alone.

    The libraries note the folder that a part was read from. transformers opens its parts in the
    precision that they note, diffusers in float32: noting that keeps half-precision folders in
    one piece.
    """
    config: dict[str, Any] = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    if "dtype" in config:
        config["dtype"] = "float32"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
