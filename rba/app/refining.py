"""The one place where the page meets the pipeline: match every defect, mend them in turn."""

import dataclasses
import threading
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from rba.case import Case
from rba.errors import InputError
from rba.inference.images import DefectMatch, ImageResult, count_batches, find_matches
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.references import ReferenceChoice
from rba.inference.refine import align_requests
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings

Progress = Callable[[int, int], object]
"""Called with (steps done, steps of all defects)."""


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
        separate: Mend parts of the mask that lie apart one after another; False takes it as one.
    """

    steps: int = 50
    guidance_scale: float = 5.0
    seed: int = 0
    zoom_in: bool = True
    crop_factor: float = 3.0
    max_magnification: float = 4.0
    num_noises: int = 1
    separate: bool = True


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
        usual = self.pipeline.settings()
        return self.pipeline.settings(
            sampler=SamplerSettings(
                num_inference_steps=options.steps, guidance_scale=options.guidance_scale
            ),
            alignment=dataclasses.replace(usual.alignment, num_noises=options.num_noises),
            seed=options.seed,
            zoom_in=options.zoom_in,
            crop_factor=options.crop_factor,
            max_magnification=options.max_magnification,
            defect_distance=usual.defect_distance if options.separate else None,
        )

    def find(self, case: Case, options: Options) -> list[DefectMatch]:
        """Find each defect's content on every reference of a case, and choose the one to use."""
        with self._device:
            return find_matches(
                self._network,
                self.pipeline.scheduler,
                RefinementRequest(case=case),
                self.settings(options),
            )

    def with_reference(self, match: DefectMatch, index: int) -> DefectMatch:
        """Return a match after the reference that the user wants."""
        if index == match.choice.index:
            return match
        alone = (match.choice.alignments[index],)
        choice = ReferenceChoice(index=index, scores=(), alignments=alone)
        return DefectMatch(mask=match.mask, choice=choice)

    def with_region(
        self, case: Case, match: DefectMatch, index: int, region: np.ndarray, options: Options
    ) -> DefectMatch:
        """Return a match after a region that the user painted; the map that was found stays.

        Args:
            case: What is refined.
            match: What was found of the defect.
            index: Number of the reference that was painted on.
            region: hxw bool on it.
            options: The page's settings.
        """
        own = dataclasses.replace(case, artifact_mask=match.mask)
        request = RefinementRequest(case=own, reference_index=index, region=region)
        (known,) = align_requests(
            self._network, self.pipeline.scheduler, [request], self.settings(options)
        )
        seen = match.choice.alignments[index].correspondence_map
        known = dataclasses.replace(known, correspondence_map=seen)
        choice = ReferenceChoice(index=index, scores=(), alignments=(known,))
        return DefectMatch(mask=match.mask, choice=choice)

    def refine(
        self,
        case: Case,
        matches: Sequence[DefectMatch] | None,
        options: Options,
        *,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> ImageResult:
        """Mend every defect of a case.

        Args:
            case: Picture, mask, references.
            matches: What is known of its defects; None looks for it, as a call of the pipeline.
            options: The page's settings.
            progress: Called after each sampler step.
            stop: Looked at after each sampler step.

        Raises:
            InputError: If a setting does not fit.
            StoppedError: If ``stop`` was set.
        """
        settings = self.settings(options)
        request = RefinementRequest(case=case)
        rounds = count_batches([request], settings) if matches is None else len(matches)
        done = 0

        def after_step(index: int, count: int, latents: Tensor) -> None:
            del index, latents
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, rounds * count)
            if stop is not None and stop.is_set():
                raise StoppedError("Stopped. Nothing was changed.")

        with self._device:
            (result,) = self.pipeline.refine_images(
                [request], settings, matches=[matches], callback=after_step
            )
        return result
