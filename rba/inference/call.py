"""What a call of the pipeline takes and gives: PIL, NumPy or tensors in, a dataclass out."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from rba.case import Case
from rba.errors import InputError
from rba.geometry import Box
from rba.inference.request import RefinementRequest, RefinementResult
from rba.pictures import picture_to_mask, picture_to_pixels

Picture = Image.Image | np.ndarray | Tensor
OUTPUT_TYPES = ("pil", "np", "pt")


@dataclasses.dataclass
class RefineByAlignOutput(BaseOutput):
    """Refined images and how they came about; every list has an entry an image.

    Attributes:
        images: The refined images in their inputs' sizes: PIL; HxWx3 float32 in [0, 1] (``np``); or
            3xHxW float32 in [0, 1] (``pt``).
        correspondence_maps: n x n float32 that sums to 1 (16 x 16 for 224-pixel references of
            14-pixel patches); None where alignment was skipped.
        correspondence_masks: hxw bool on the original reference.
        reference_boxes: The box that was cut from the original reference, in its pixels.
        crop_boxes: The part of the image that was worked on, in its pixels; may reach outside.
        confidences: Share of the map's mass that lies in the region; NaN where skipped.
        fallbacks: Nothing stood out, so the whole object guided the refinement.
        masks_grown: At the network the mask marks over 1.5 times the area that was painted: it is
            thin or tiny, and what it touches counts whole.
        seconds: By stage.
        results: All of it as `rba.inference.request.RefinementResult`.
    """

    images: list[Any]
    correspondence_maps: list[np.ndarray | None]
    correspondence_masks: list[np.ndarray | None]
    reference_boxes: list[Box | None]
    crop_boxes: list[Box]
    confidences: list[float]
    fallbacks: list[bool]
    masks_grown: list[bool]
    seconds: list[dict[str, float]]
    results: list[RefinementResult]


def make_requests(
    image: Picture | Sequence[Picture],
    mask_image: Picture | Sequence[Picture],
    reference: Picture | Sequence[Picture],
    reference_mask: Picture | Sequence[Picture | None] | None,
    reference_region: Picture | Sequence[Picture | None] | None,
) -> list[RefinementRequest]:
    """Bring a call's pictures together, one request an image.

    A single reference, with its mask and region, serves all images; else there is one for each.

    Raises:
        InputError: If a picture is of no known form, or the lists' lengths differ.
    """
    images = _listed("image", image)
    masks = _matched("mask_image", mask_image, len(images))
    references = _matched("reference", reference, len(images))
    object_masks = _matched("reference_mask", reference_mask, len(images))
    regions = _matched("reference_region", reference_region, len(images))
    requests: list[RefinementRequest] = []
    for index in range(len(images)):
        shown, alpha = to_pixels(references[index], "reference")
        given = object_masks[index]
        object_mask = alpha if given is None else to_mask(given, "reference_mask")
        region = regions[index]
        case = Case(
            id=str(index),
            image=to_pixels(images[index], "image")[0],
            artifact_mask=to_mask(masks[index], "mask_image"),
            references=(shown,),
            reference_masks=(object_mask,),
        )
        known = None if region is None else to_mask(region, "reference_region")
        requests.append(RefinementRequest(case=case, region=known))
    return requests


def make_output(
    requests: Sequence[RefinementRequest], results: Sequence[RefinementResult], output_type: str
) -> RefineByAlignOutput:
    """Gather results; images in the form that ``output_type`` names."""
    alignments = [result.alignment for result in results]
    return RefineByAlignOutput(
        images=[_formed(result.image, output_type) for result in results],
        correspondence_maps=[alignment.correspondence_map for alignment in alignments],
        correspondence_masks=[result.correspondence_mask for result in results],
        reference_boxes=[result.reference_box for result in results],
        crop_boxes=[result.crop_box for result in results],
        confidences=[alignment.confidence for alignment in alignments],
        fallbacks=[alignment.fallback for alignment in alignments],
        masks_grown=[
            _grown(request, result) for request, result in zip(requests, results, strict=True)
        ],
        seconds=[result.seconds for result in results],
        results=list(results),
    )


def check_output_type(output_type: str) -> None:
    """Refuse an unknown form of output.

    Raises:
        InputError: In this case.
    """
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"output_type {output_type!r}; give one of {', '.join(OUTPUT_TYPES)}")


def to_pixels(picture: object, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Turn a picture into HxWx3 uint8 and, where it has a meaningful alpha, HxW bool.

    Args:
        picture: PIL of any mode; HxW, HxWx1, HxWx3 or HxWx4 uint8 or float in [0, 1]; or a tensor
            with the channels first.
        name: Said in the message.

    Raises:
        InputError: If it is of another form.
    """
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(_to_bytes(_channels_last(picture, name), name))
    return picture_to_pixels(picture)


def to_mask(picture: object, name: str) -> np.ndarray:
    """Turn a mask into HxW bool: bool as it is, else set where it is white (at least a half).

    Raises:
        InputError: If it is of another form than `to_pixels` takes.
    """
    if not isinstance(picture, Image.Image):
        values = _channels_last(picture, name)
        if values.dtype == bool:
            return np.asarray(values.any(axis=2)) if values.ndim == 3 else values
        picture = Image.fromarray(_to_bytes(values, name))
    return picture_to_mask(picture, name)


def _listed(name: str, given: object) -> list[Any]:
    if isinstance(given, (np.ndarray, Tensor)) and given.ndim == 4:
        return list(given)
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    if not listed:
        raise InputError(f"{name} is an empty list; give at least one picture")
    return listed


def _matched(name: str, given: object, count: int) -> list[Any]:
    listed = _listed(name, given)
    if len(listed) == 1:
        return listed * count
    if len(listed) != count:
        raise InputError(f"{len(listed)} pictures as {name} for {count} images; give as many")
    return listed


def _channels_last(picture: object, name: str) -> np.ndarray:
    if isinstance(picture, Tensor):
        values = picture.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
        if values.ndim == 3:
            values = np.moveaxis(values, 0, 2)
    elif isinstance(picture, np.ndarray):
        values = picture
    else:
        raise InputError(
            f"{name} is a {type(picture).__name__}; give a PIL image, a NumPy array or a tensor"
        )
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3) or 0 in values.shape or values.shape[2:] not in ((), (3,), (4,)):
        raise InputError(
            f"{name} has the shape {tuple(np.shape(picture))}; give HxW, HxWx3 or HxWx4 as an "
            "array, 3xHxW as a tensor"
        )
    return values


def _to_bytes(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype == bool:
        return values.astype(np.uint8) * 255
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name} holds {values.dtype}; give uint8, bool, or floats in [0, 1]")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError(
            f"{name} holds floats from {values.min():g} to {values.max():g}; give them in [0, 1]"
        )
    return np.rint(values * 255).astype(np.uint8)


def _grown(request: RefinementRequest, result: RefinementResult) -> bool:
    box, seen = result.crop_box, result.alignment.crop.mask
    marked = float(seen.mean()) * box.width * box.height
    return bool(marked > 1.5 * request.case.artifact_mask.sum())


def _formed(image: np.ndarray, output_type: str) -> Any:
    if output_type == "pil":
        return Image.fromarray(image)
    shares = image.astype(np.float32) / 255
    return shares if output_type == "np" else torch.from_numpy(shares).permute(2, 0, 1).contiguous()
