"""``rba refine``: files in, a refined file and its intermediates out."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rba.case import Case
from rba.errors import InputError
from rba.inference.images import ImageResult
from rba.inference.intermediates import save_image_intermediates
from rba.inference.jobs import read_reference
from rba.inference.original import LOSSLESS, write_like
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.metrics.preservation import max_change_outside
from rba.pictures import IMAGE_SUFFIXES, read_image_with_alpha, read_mask


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefineCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        model: Model directory, or the name of a shipped one.
        image: Generated image with a defect.
        mask: Mask of the defect.
        reference: Picture of the same object, or several.
        reference_mask: Object mask of the reference, or of each; None = its alpha, if it has one.
        output: The refined image.
        save_intermediates: Folder for map, masks, crops and panel, or None.
        steps: Sampler steps.
        guidance_scale: Classifier-free guidance.
        seed: Keys the noise.
        device: ``auto`` or a torch device.
    """

    model: str
    image: str
    mask: str
    reference: str | Sequence[str]
    output: str
    reference_mask: str | Sequence[str] | None = None
    save_intermediates: str | None = None
    steps: int = 50
    guidance_scale: float = 5.0
    seed: int = 0
    device: str = "auto"


def run_refine(command: RefineCommand) -> None:
    """Refine one image and say what was done.

    Raises:
        InputError: For every mistake in paths, sizes and options, before the model is opened.
    """
    output = Path(command.output)
    numbers: dict[str, Any] = {
        "seed": command.seed,
        "sampler": SamplerSettings(
            num_inference_steps=command.steps, guidance_scale=command.guidance_scale
        ),
    }
    RefinementSettings(**numbers)  # refuses unfit ones before the model is opened
    check_output(output)
    device = choose_device(command.device)
    case = read_case(command)
    if command.save_intermediates:
        make_folder(Path(command.save_intermediates))
    pipeline = RefineByAlignPipeline.open(command.model).to(device)
    settings = pipeline.settings(**numbers)
    start = time.perf_counter()
    (result,) = pipeline.refine_images([RefinementRequest(case=case)], settings)
    seconds = time.perf_counter() - start
    reduced = write_like(output, result.image, result.feather_mask() > 0, command.image)
    if command.save_intermediates:
        save_image_intermediates(Path(command.save_intermediates), case, result)
    print(_summary(case, result, output, seconds))
    if reduced:
        print(f"note: {command.image} has more than 8 bits a channel of colour; the output has 8")


def read_case(command: RefineCommand) -> Case:
    """Read the files of a command.

    Raises:
        InputError: If one is missing, no image, wholly transparent or empty, or sizes disagree.
    """
    image, shown = read_image_with_alpha(command.image)
    if shown is not None and not shown.any():
        raise InputError(f"--image {command.image} is wholly transparent; save it without alpha")
    references = _listed(command.reference)
    masks: Sequence[str | None] = _listed(command.reference_mask) or [None] * len(references)
    if len(masks) != len(references):
        raise InputError(
            f"--reference-mask names {len(masks)} files for {len(references)} references; give one "
            "for each"
        )
    pairs = [
        read_reference(reference, mask) for reference, mask in zip(references, masks, strict=True)
    ]
    return Case(
        id=Path(command.image).stem,
        image=image,
        artifact_mask=read_mask(command.mask),
        references=tuple(reference for reference, _ in pairs),
        reference_masks=tuple(mask for _, mask in pairs),
    )


def _listed(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def choose_device(name: str) -> torch.device:
    """Return the device that a name means; ``auto`` takes a GPU where there is one.

    Raises:
        InputError: If it does not exist here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].split(". ")[0]
        raise InputError(f"--device {name} cannot be used: {reason}; try --device cpu") from error
    return device


def check_output(path: Path) -> None:
    """Refuse an output file that could not be written.

    Raises:
        InputError: If its format is unknown, it is a folder, or lies in none that is writable.
    """
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(
            f"--output {path}: {path.suffix!r} is no known image format; use .png, or one of "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    if path.is_dir():
        raise InputError(f"--output {path} is a folder; give the name of a file")
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise InputError(f"--output {path}: {folder} is not a folder that can be written to")


def make_folder(path: Path, option: str = "--save-intermediates") -> None:
    """Make a folder for results.

    Raises:
        InputError: If it cannot be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"{option} {path} cannot be written to; give another folder")


def _summary(case: Case, result: ImageResult, output: Path, seconds: float) -> str:
    lines = [f"wrote {output} in {seconds:.1f} s"]
    several = len(result.defects) > 1
    for number, defect in enumerate(result.defects, 1):
        name = f"defect {number}: " if several else ""
        if defect.choice.scores:
            lines.append(f"{name}reference {defect.choice.index + 1}: {defect.choice.reason}")
        if defect.result.alignment.fallback:
            lines.append(
                f"note: {name}no matching region stood out; the whole reference guided the "
                "refinement"
            )
    if output.suffix.lower() in LOSSLESS:
        changed = max_change_outside(case.image, result.image, result.feather_mask() > 0)
        lines.append(f"largest change outside the feathered mask: {changed}")
    else:
        lines.append(
            f"note: {output.suffix} is lossy: pixels outside the mask change too; .png keeps them"
        )
    return "\n".join(lines)
