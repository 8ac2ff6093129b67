"""diffusers' callback at the end of a step, and what a pipeline tells of the call at hand."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rba.errors import InputError
from rba.inference.images import ImageResult, count_batches
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import fresh_scheduler

StepEnd = Callable[[Any, int, Tensor, dict[str, Any]], dict[str, Any] | None]
"""Called with (pipeline, step, timestep, {"latents": Tensor}); latents that it returns are used."""


class CallState:
    """What a pipeline tells of the call that it computes, under the names of diffusers' pipelines.

    As there, a callback sets ``pipeline._interrupt = True`` to end the call: what is being mended
    is decoded and pasted back as far as it is, and nothing else is begun.
    """

    _callback_tensor_inputs = ("latents",)
    _guidance_scale = 1.0
    _num_timesteps = 0
    _interrupt = False

    @property
    def guidance_scale(self) -> float:
        """Classifier-free guidance of the last call; 1 = none."""
        return self._guidance_scale

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether the last call was guided, at two forwards of the U-Net a step."""
        return self._guidance_scale != 1.0

    @property
    def num_timesteps(self) -> int:
        """Sampler steps of the last call, for each batch of defects."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """Whether the call is to end after the step that is being computed."""
        return self._interrupt

    def begin_call(self, guidance_scale: float, num_timesteps: int) -> None:
        """Note what is being computed; nothing is interrupted yet."""
        self._guidance_scale, self._num_timesteps = guidance_scale, num_timesteps
        self._interrupt = False


def run_call(
    pipeline: Any,
    requests: Sequence[RefinementRequest],
    settings: RefinementSettings,
    generator: torch.Generator | None,
    step_end: StepEnd | None,
    tensor_inputs: Sequence[str],
) -> list[ImageResult]:
    """Mend images under the pipeline's progress bar, with the user's callback after each step.

    Args:
        pipeline: A `CallState` with diffusers' ``progress_bar`` and our ``refine_images``.
        requests: One an image.
        settings: Of both stages.
        generator: Source of all noise, or None.
        step_end: The user's callback, or None.
        tensor_inputs: What it is given.

    Raises:
        InputError: If a tensor is not offered, or as `rba.inference.images.refine_images`.
    """
    tensor_inputs = check_step_end(pipeline, step_end, tensor_inputs)
    sampler = settings.sampler
    timesteps = fresh_scheduler(
        pipeline.scheduler, sampler.num_inference_steps, torch.device("cpu")
    ).timesteps
    pipeline.begin_call(sampler.guidance_scale, len(timesteps))
    with pipeline.progress_bar(total=count_batches(requests, settings) * len(timesteps)) as bar:

        def report(index: int, _: int, latents: Tensor) -> Tensor | None:
            bar.update()
            if step_end is None:
                return None
            shown = {"latents": latents} if "latents" in tensor_inputs else {}
            return (step_end(pipeline, index, timesteps[index], shown) or {}).get("latents")

        return pipeline.refine_images(
            requests,
            settings,
            generator=generator,
            callback=report,
            interrupted=lambda: pipeline.interrupt,
        )


def check_step_end(
    pipeline: CallState, step_end: StepEnd | None, tensor_inputs: Sequence[str]
) -> Sequence[str]:
    """Return the tensors that a callback is given: diffusers' own callbacks name them themselves.

    Raises:
        InputError: If one is not among the pipeline's ``_callback_tensor_inputs``.
    """
    tensor_inputs = getattr(step_end, "tensor_inputs", tensor_inputs)
    known = pipeline._callback_tensor_inputs  # pyright: ignore[reportPrivateUsage]  diffusers' name
    unknown = [name for name in tensor_inputs if name not in known]
    if unknown:
        raise InputError(
            f"callback_on_step_end_tensor_inputs has {', '.join(unknown)}; give those of "
            f"{', '.join(known)}"
        )
    return tensor_inputs
