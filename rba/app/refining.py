"""The one place where the page meets the pipeline: align every reference, refine after one."""

import dataclasses
import threading
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from rba.case import Case
from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.references import ReferenceChoice, choose_reference
from rba.inference.refine import align_requests, refine_aligned
from rba.inference.request import (
    Alignment,
    RefinementRequest,
    RefinementResult,
    RefinementSettings,
)
from rba.inference.sampler import SamplerSettings

Progress = Callable[[int, int], object]
"""Called with (steps done, steps in all)."""


class StoppedError(InputError):
    """The user asked the refinement to stop."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What the page's settings say.

    Attributes:
        steps: Sampler steps.
        guidance_scale: Classifier-free guidance; 1 = none.
        seed: Keys the noise.
        zoom_in: Work on a square around the defect; False takes the whole picture.
        crop_factor: Side of that square in sides of the defect's box.
        max_magnification: The square is enlarged at most this much.
        num_noises: Starting noises that the correspondence map is the mean of.
    """

    steps: int = 50
    guidance_scale: float = 5.0
    seed: int = 0
    zoom_in: bool = True
    crop_factor: float = 3.0
    max_magnification: float = 4.0
    num_noises: int = 1


class Refiner:
    """A pipeline that one user at a time computes with.

    Args:
        pipeline: On its device.
        name: What the page calls the model.
    """

    def __init__(self, pipeline: RefineByAlignPipeline, name: str) -> None:
        self.pipeline = pipeline
        self.name = name
        self._network = pipeline.network
        self._device = threading.Lock()

    def settings(self, options: Options) -> RefinementSettings:
        """Return the pipeline's settings with a user's options.

        Raises:
            InputError: If a number is out of its range.
        """
        calibrated = self.pipeline.settings().alignment
        return self.pipeline.settings(
            sampler=SamplerSettings(
                num_inference_steps=options.steps, guidance_scale=options.guidance_scale
            ),
            alignment=dataclasses.replace(calibrated, num_noises=options.num_noises),
            seed=options.seed,
            zoom_in=options.zoom_in,
            crop_factor=options.crop_factor,
            max_magnification=options.max_magnification,
        )

    def align(self, case: Case, options: Options) -> ReferenceChoice:
        """Find the defect's content on every reference of a case, and choose the one to use."""
        requests = [
            RefinementRequest(case=case, reference_index=index)
            for index in range(len(case.references))
        ]
        with self._device:
            alignments = self._align(requests, self.settings(options))
            if len(alignments) == 1:
                return ReferenceChoice(index=0, scores=(), alignments=tuple(alignments))
            return choose_reference(self._network, alignments)

    def refine(
        self,
        case: Case,
        alignment: Alignment | None,
        region: np.ndarray | None,
        options: Options,
        *,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> RefinementResult:
        """Refine a case of one reference.

        Args:
            case: Holds the reference that is used, alone.
            alignment: What `align` found on it; None where nothing was looked for.
            region: hxw bool on the reference where the user painted it, else None.
            options: The page's settings.
            progress: Called after each sampler step.
            stop: Looked at after each sampler step.

        Raises:
            InputError: If a setting does not fit, or neither alignment nor region is given.
            StoppedError: If ``stop`` was set.
        """
        if alignment is None and region is None:
            raise InputError("neither a found nor a painted region is known; find the region first")
        settings = self.settings(options)

        def after_step(index: int, count: int, latents: Tensor) -> None:
            del latents
            if progress is not None:
                progress(index + 1, count)
            if stop is not None and stop.is_set():
                raise StoppedError("Stopped. Nothing was changed.")

        request = RefinementRequest(case=case, region=region)
        with self._device:
            if region is not None:
                found, alignment = alignment, self._align([request], settings)[0]
                if found is not None:  # the painted region is used, the map stays to be looked at
                    alignment = dataclasses.replace(
                        alignment, correspondence_map=found.correspondence_map
                    )
            assert alignment is not None
            return refine_aligned(
                self._network,
                self.pipeline.scheduler,
                [request],
                [alignment],
                settings,
                callback=after_step,
            )[0]

    def _align(
        self, requests: Sequence[RefinementRequest], settings: RefinementSettings
    ) -> list[Alignment]:
        return align_requests(self._network, self.pipeline.scheduler, requests, settings)
