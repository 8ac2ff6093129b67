"""The diffusers pipeline: a model directory on disk, both stages behind one call."""

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

from rba.errors import InputError
from rba.inference.align import AlignmentSettings
from rba.inference.call import (
    Picture,
    RefineByAlignOutput,
    check_output_type,
    make_output,
    make_requests,
    reduced_depths,
)
from rba.inference.images import ImageResult, refine_images
from rba.inference.model_files import make_portable, without_library_bars
from rba.inference.refine import refine_many
from rba.inference.request import RefinementRequest, RefinementResult, RefinementSettings
from rba.inference.sampler import SamplerSettings, StepCallback
from rba.inference.step_end import CallState, StepEnd, run_call

# A pipeline folder records these classes by module path and diffusers imports no module by itself:
# importing them here is part of the file format.
from rba.models.autoencoder import PatchAutoencoder as PatchAutoencoder
from rba.models.connector import Connector as Connector
from rba.models.model_directory import load_parts
from rba.models.network import RefinementNetwork
from rba.models.shipped import INDEX_NAME, resolve_model


class RefineByAlignPipeline(CallState, DiffusionPipeline):
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

    model_cpu_offload_seq = "encoder->connector->autoencoder->unet"

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

    def write(self, folder: Path, texts: Mapping[str, str] | None = None) -> None:
        """Write the model directory aside and put it in place of an empty or older one.

        The same weights and settings give the same bytes, wherever they came from.

        Args:
            folder: The directory.
            texts: Contents of further files by name, such as ``README.md``.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with without_library_bars():
                self.save_pretrained(partial, safe_serialization=True)
            for path in sorted(partial.rglob("*.json")):
                make_portable(path)
            for name, text in (texts or {}).items():
                (partial / name).write_text(text)
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
            make_portable(partial / INDEX_NAME)
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
        image: Picture | Sequence[Picture],
        mask_image: Picture | Sequence[Picture],
        reference: Picture | Sequence[Picture | Sequence[Picture]],
        reference_mask: Picture | Sequence[Picture | Sequence[Picture | None] | None] | None = None,
        reference_region: Picture | Sequence[Picture | None] | None = None,
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 5.0,
        eta: float = 0.0,
        generator: torch.Generator | None = None,
        seed: int = 0,
        settings: RefinementSettings | None = None,
        output_type: str = "pil",
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> RefineByAlignOutput:
        """Align and refine pictures of any sizes.

        Args:
            image: Generated image(s) with a defect: PIL; HxWx3 uint8 or float in [0, 1]; 3xHxW
                tensors in [0, 1]; a list of these, or a batch with one more axis in front.
            mask_image: The defect(s), white, of the image's size.
            reference: Picture(s) of the same object; one serves all images. Several for one image,
                or a list in the list for each: the best is chosen for each defect.
            reference_mask: The object on the reference; None = its alpha channel, if it has one.
            reference_region: The matching region on the reference, where it is known: no alignment.
            num_inference_steps: Sampler steps of the refinement.
            guidance_scale: Classifier-free guidance; 1 = none.
            eta: Stochasticity of DDIM.
            generator: Source of all noise; None keys it by ``seed``, the same for each image.
            seed: From 0.
            settings: All other numbers (default: `settings()`); sampler and seed are those above.
            output_type: ``pil``, ``np`` or ``pt``.
            callback_on_step_end: Called as diffusers does after each sampler step of a batch with
                (pipeline, step, timestep, {"latents": ...}); latents that it returns replace them;
                ``pipeline._interrupt = True`` ends the call (`CallState`).
            callback_on_step_end_tensor_inputs: What it is given, of ``_callback_tensor_inputs``.

        Raises:
            InputError: For pictures that do not fit together, and numbers out of range.
        """
        check_output_type(output_type)
        chosen = dataclasses.replace(
            settings or self.settings(),
            seed=seed,
            sampler=SamplerSettings(
                num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, eta=eta
            ),
        )
        reduced = reduced_depths(image)
        requests = make_requests(image, mask_image, reference, reference_mask, reference_region)
        step_end, inputs = callback_on_step_end, callback_on_step_end_tensor_inputs
        results = run_call(self, requests, chosen, generator, step_end, inputs)
        self.maybe_free_model_hooks()
        return make_output(image, results, output_type, reduced)

    @torch.no_grad()
    def refine(
        self,
        requests: RefinementRequest | Sequence[RefinementRequest],
        settings: RefinementSettings | None = None,
        *,
        generator: torch.Generator | None = None,
        callback: StepCallback | None = None,
    ) -> list[RefinementResult]:
        """Align and refine requests, each mask as one defect after the reference it names.

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

    @torch.no_grad()
    def refine_images(
        self,
        requests: Sequence[RefinementRequest],
        settings: RefinementSettings | None = None,
        **options: Any,
    ) -> list[ImageResult]:
        """Mend every defect of every image, as `rba.inference.images.refine_images`."""
        network, chosen = self.network, settings or self.settings()
        return refine_images(network, self.scheduler, requests, chosen, **options)
