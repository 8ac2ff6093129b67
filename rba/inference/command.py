"""``rba refine``: files in, a refined file and its intermediates out."""

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rba.case import Case
from rba.errors import InputError
from rba.inference.panel import case_panel
from rba.inference.pipeline import RefineByAlignPipeline
from rba.inference.request import RefinementRequest, RefinementResult, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.metrics.preservation import max_change_outside
from rba.pictures import IMAGE_SUFFIXES, read_image_with_alpha, read_mask, write_png

LOSSLESS = frozenset({".png", ".bmp", ".tif", ".tiff"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefineCommand:
    """The command's options; paths as the user typed them.

    Attributes:
        model: Model directory, or the name of a shipped one.
        image: Generated image with a defect.
        mask: Mask of the defect.
        reference: Picture of the same object.
        reference_mask: Object mask of the reference; None = its alpha, if it has one.
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
    reference: str
    output: str
    reference_mask: str | None = None
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
    result = pipeline.refine(RefinementRequest(case=case), settings)[0]
    seconds = time.perf_counter() - start
    write_image(output, result.image)
    if command.save_intermediates:
        save_intermediates(Path(command.save_intermediates), case, result)
    print(_summary(case, result, output, seconds))


def read_case(command: RefineCommand) -> Case:
    """Read the files of a command.

    Raises:
        InputError: If one is missing, no image, wholly transparent or empty, or sizes disagree.
    """
    image, shown = read_image_with_alpha(command.image)
    if shown is not None and not shown.any():
        raise InputError(f"--image {command.image} is wholly transparent; save it without alpha")
    reference, alpha = read_image_with_alpha(command.reference)
    object_mask = read_mask(command.reference_mask) if command.reference_mask else alpha
    if object_mask is not None and not object_mask.any():
        source = command.reference_mask or f"the alpha channel of {command.reference}"
        raise InputError(f"{source} marks no object; mark it, or leave the mask out")
    return Case(
        id=Path(command.image).stem,
        image=image,
        artifact_mask=read_mask(command.mask),
        references=(reference,),
        reference_masks=(object_mask,),
    )


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


def write_image(path: Path, image: np.ndarray) -> None:
    """Write a picture beside its name, then rename: a reader never sees half a file.

    Raises:
        InputError: If the format does not hold it (WebP ends at 16383 pixels) or the disk is full.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    quality: dict[str, Any] = {} if path.suffix.lower() in LOSSLESS else {"quality": 95}
    try:
        Image.fromarray(image).save(partial, **quality)
        partial.replace(path)
    except (OSError, ValueError) as error:
        size = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(
            f"--output {path}: {size} pixels cannot be written: {error}; try .png, another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def save_intermediates(folder: Path, case: Case, result: RefinementResult) -> None:
    """Write map, masks, crops, facts and a panel of one result."""
    alignment = result.alignment
    write_png(folder / "crop.png", alignment.crop.pixels)
    write_png(folder / "crop_mask.png", alignment.crop.mask)
    write_png(folder / "refined_crop.png", result.refined_crop)
    write_png(folder / "feather_mask.png", np.rint(result.feather_mask() * 255).astype(np.uint8))
    if alignment.correspondence_map is not None:
        np.save(folder / "correspondence_map.npy", alignment.correspondence_map)
    if alignment.region is not None:
        write_png(folder / "correspondence_mask.png", alignment.region)
    if alignment.matched is not None:
        write_png(folder / "matched_region.png", alignment.matched.pixels)
    write_png(folder / "panel.png", case_panel(case, result))
    (folder / "result.json").write_text(json.dumps(result_facts(case, result), indent=2) + "\n")


def result_facts(case: Case, result: RefinementResult) -> dict[str, object]:
    """Return what is known of a result as plain JSON values."""
    box, matched = result.crop_box, result.reference_box
    confidence = result.alignment.confidence
    return {
        "crop_box": dataclasses.astuple(box),
        "reference_box": None if matched is None else dataclasses.astuple(matched),
        "fallback": result.alignment.fallback,
        "confidence": None if np.isnan(confidence) else confidence,
        "feathered_pixels": int((result.feather_mask() > 0).sum()),
        "artifact_pixels": int(case.artifact_mask.sum()),
        "max_change_outside_feathered_mask": max_change_outside(
            case.image, result.image, result.feather_mask() > 0
        ),
        "seconds": result.seconds,
    }


def _summary(case: Case, result: RefinementResult, output: Path, seconds: float) -> str:
    lines = [f"wrote {output} in {seconds:.1f} s"]
    if result.alignment.fallback:
        lines.append(
            "note: no matching region stood out; the whole reference guided the refinement"
        )
    if output.suffix.lower() in LOSSLESS:
        changed = max_change_outside(case.image, result.image, result.feather_mask() > 0)
        lines.append(f"largest change outside the feathered mask: {changed}")
    else:
        lines.append(
            f"note: {output.suffix} is lossy: pixels outside the mask change too; .png keeps them"
        )
    return "\n".join(lines)
