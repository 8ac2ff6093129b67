"""Paint-by-Example (Yang et al., CVPR 2023) through diffusers, from a local folder of weights."""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rba.case import Case
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.evaluation.methods import MethodResult
from rba.geometry import crop, paste, resize
from rba.inference.frames import reference_frame, zoom_in
from rba.inference.model_files import without_library_bars
from rba.models.sources import load_pretrained

_CLASS = "PaintByExamplePipeline"
_PARTS = ("unet", "vae", "image_encoder", "scheduler", "feature_extractor")
_EXAMPLE_SIDE = 224  # pixels; the pipeline's own processor makes of it what its encoder takes


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleSettings:
    """Numbers of the baseline; its crop is the one our own method works on.

    Attributes:
        steps: Sampler steps.
        guidance_scale: Classifier-free guidance.
        crop_factor: Side of the crop in sides of the mask's box.
        max_magnification: A crop is enlarged at most this much.
        seed: Keys the noise, with each case's draw number.
    """

    steps: int = 50
    guidance_scale: float = 5.0
    crop_factor: float = 3.0
    max_magnification: float = 4.0
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class PaintByExample:
    """The row ``paint_by_example``: the whole first reference is the example.

    Attributes:
        folder: Checked by `open_paint_by_example`; loaded at the first case.
        device: Where it runs.
        options: Numbers.
    """

    folder: Path
    device: torch.device
    options: ExampleSettings = dataclasses.field(default_factory=ExampleSettings)
    name: str = "paint_by_example"
    description: str = (
        "Paint-by-Example on our crop; the example is the whole reference, its object alone where "
        "its mask is known."
    )

    def settings(self) -> Mapping[str, object]:
        """Return the numbers and the folder's own description of its parts."""
        return dataclasses.asdict(self.options) | {"model": self.folder.name}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        """Yield one result a case, one at a time: the batch cannot change it."""
        for case, number in zip(cases, numbers, strict=True):
            yield self._refine(case, number)

    def _refine(self, case: Case, number: int) -> MethodResult:
        options = self.options
        frame = zoom_in(
            case.image,
            case.artifact_mask,
            self._side,
            factor=options.crop_factor,
            magnification=options.max_magnification,
        )
        example = reference_frame(
            case.references[0], case.reference_masks[0], _EXAMPLE_SIDE, object_margin=0.0
        )
        draws = keyed_generator(options.seed, "noise", self.name, number)
        generator = torch.Generator("cpu").manual_seed(int(draws.integers(2**62)))
        output: Any = self._pipeline(
            example_image=Image.fromarray(example.pixels),
            image=Image.fromarray(frame.pixels),
            mask_image=Image.fromarray(frame.mask.astype(np.uint8) * 255),
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            generator=generator,
        )
        fitted = resize(np.asarray(output.images[0]), frame.box.height, frame.box.width)
        hole = crop(case.artifact_mask, frame.box, fill=0)
        before = crop(case.image, frame.box)
        image = paste(case.image, np.where(hole[..., None], fitted, before), frame.box)
        return MethodResult(image=image)

    @property
    def _side(self) -> int:
        parts = self._pipeline
        return parts.unet.config.sample_size * parts.vae_scale_factor

    @functools.cached_property
    def _pipeline(self) -> Any:
        return _load(self.folder).to(self.device)


def _load(folder: Path) -> Any:
    """Open the pipeline part by part: diffusers 0.42 no longer finds its own image encoder."""
    import diffusers
    from diffusers.pipelines.deprecated.paint_by_example import PaintByExampleImageEncoder
    from diffusers.utils import logging
    from transformers import CLIPImageProcessor

    parts = {
        "unet": diffusers.UNet2DConditionModel,
        "vae": diffusers.AutoencoderKL,
        "image_encoder": PaintByExampleImageEncoder,
    }
    index = _read_index(folder)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # that the pipeline gets no more features helps nobody here
    try:
        with without_library_bars():
            opened = {
                name: load_pretrained(part, str(folder), subfolder=name)
                for name, part in parts.items()
            }
        scheduler: Any = getattr(diffusers, index["scheduler"][1])
        # No safety checker: what it takes for unsafe it paints black, which is no fair row.
        pipeline = diffusers.PaintByExamplePipeline(
            **opened,
            scheduler=scheduler.from_pretrained(folder, subfolder="scheduler"),
            safety_checker=None,  # pyright: ignore[reportArgumentType]
            feature_extractor=CLIPImageProcessor.from_pretrained(folder / "feature_extractor"),
        )
    except (OSError, ValueError, AttributeError) as error:
        line = str(error).splitlines()[0]
        raise InputError(f"--paint-by-example {folder}: {line}") from error
    finally:
        logging.set_verbosity(verbosity)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def open_paint_by_example(
    folder: str, device: torch.device, options: ExampleSettings | None = None
) -> PaintByExample:
    """Check that a folder holds the pipeline; no weight is read.

    Raises:
        InputError: If it does not.
    """
    path = Path(folder)
    if not path.is_dir():
        raise InputError(
            f"--paint-by-example {folder} is not a folder; give a local copy of "
            "Fantasy-Studio/Paint-by-Example"
        )
    _read_index(path)
    missing = [part for part in _PARTS if not (path / part).is_dir()]
    if missing:
        raise InputError(f"--paint-by-example {folder} lacks its folder {', '.join(missing)}")
    return PaintByExample(path, device, options or ExampleSettings())


def _read_index(folder: Path) -> Mapping[str, Any]:
    option = f"--paint-by-example {folder}"
    try:
        index: Any = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{option} has no readable model_index.json: {error}") from error
    kind = index.get("_class_name") if isinstance(index, dict) else None
    if kind != _CLASS:
        raise InputError(f"{option} holds {kind}; give a folder of {_CLASS}")
    scheduler = index.get("scheduler")
    if not isinstance(scheduler, list) or not str(scheduler[-1]).endswith("Scheduler"):
        raise InputError(f"{option}: its model_index.json names no scheduler of diffusers")
    return index
