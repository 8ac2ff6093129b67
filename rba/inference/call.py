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
from rba.inference.images import ImageResult
from rba.inference.original import in_form_of
from rba.inference.request import RefinementRequest
from rba.pictures import loses_depth, picture_to_mask, picture_to_pixels

Picture = Image.Image | np.ndarray | Tensor
OUTPUT_TYPES = ("pil", "np", "pt")


@dataclasses.dataclass
class RefineByAlignOutput(BaseOutput):
    """Refined images and how they came about; every list has an entry an image.

    Of an image with several defects, all but ``images``, ``seconds`` and ``results`` tell of the
    largest one; ``results`` has all of them. An image that an interruption left as it was has
    None, NaN and False.

    Attributes:
        images: The refined images in their inputs' sizes: PIL, in the mode and with the metadata of
            a PIL input; HxWx3 float32 in [0, 1] (``np``); or 3xHxW float32 in [0, 1] (``pt``).
        correspondence_maps: n x n float32 that sums to 1 (16 x 16 for 224-pixel references of
            14-pixel patches); None where alignment was skipped.
        correspondence_masks: hxw bool on the original reference.
        reference_boxes: The box that was cut from the original reference, in its pixels.
        references: Number of the reference that was used, from 0.
        crop_boxes: The part of the image that was worked on, in its pixels; may reach outside.
        confidences: Share of the map's mass that lies in the region; NaN where skipped.
        fallbacks: Nothing stood out, so the whole object guided the refinement.
        masks_grown: At the network the mask marks over 1.5 times the area that was painted: it is
            thin or tiny, and what it touches counts whole.
        colour_depths_reduced: The input was a PIL picture, not loaded yet, of more than 8 bits a
            channel of colour: Pillow reads and writes 8 of them.
        seconds: By stage.
        results: All of it: each defect, the references' scores and both stages' results.
    """

    images: list[Any]
    correspondence_maps: list[np.ndarray | None]
    correspondence_masks: list[np.ndarray | None]
    reference_boxes: list[Box | None]
    references: list[int | None]
    crop_boxes: list[Box | None]
    confidences: list[float]
    fallbacks: list[bool]
    masks_grown: list[bool]
    colour_depths_reduced: list[bool]
    seconds: list[dict[str, float]]
    results: list[ImageResult]


def make_requests(
    image: Picture | Sequence[Picture],
    mask_image: Picture | Sequence[Picture],
    reference: Picture | Sequence[Picture | Sequence[Picture]],
    reference_mask: Picture | Sequence[Picture | Sequence[Picture | None] | None] | None,
    reference_region: Picture | Sequence[Picture | None] | None,
) -> list[RefinementRequest]:
    """Bring a call's pictures together, one request an image.

    A single reference, with its mask and region, serves all images; else there is one for each, or
    a list of several. For one image, a list of references are all its own.

    Raises:
        InputError: If a picture is of no known form, or the lists' lengths differ.
    """
    images = _listed("image", image)
    masks = _matched("mask_image", mask_image, len(images))
    references = _grouped("reference", reference, len(images))
    object_masks = _grouped("reference_mask", reference_mask, len(images))
    regions = _matched("reference_region", reference_region, len(images))
    requests: list[RefinementRequest] = []
    for index in range(len(images)):
        shown, alphas = _references(references[index], object_masks[index])
        case = Case(
            id=str(index),
            image=to_pixels(images[index], "image")[0],
            artifact_mask=to_mask(masks[index], "mask_image"),
            references=shown,
            reference_masks=alphas,
        )
        region = regions[index]
        if region is not None and len(shown) > 1:
            raise InputError("reference_region marks one reference; give that one alone")
        known = None if region is None else to_mask(region, "reference_region")
        requests.append(RefinementRequest(case=case, region=known))
    return requests


def _references(
    given: Sequence[object], object_masks: Sequence[object]
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray | None, ...]]:
    """Return one image's references and their object masks, from their alpha where none is."""
    if object_masks == [None]:
        object_masks = [None] * len(given)
    if len(object_masks) != len(given):
        raise InputError(
            f"{len(object_masks)} reference masks for {len(given)} references; give one or None "
            "for each"
        )
    pairs = [to_pixels(picture, "reference") for picture in given]
    masks = [
        alpha if mask is None else to_mask(mask, "reference_mask")
        for (_, alpha), mask in zip(pairs, object_masks, strict=True)
    ]
    return tuple(shown for shown, _ in pairs), tuple(masks)


def reduced_depths(image: Picture | Sequence[Picture]) -> list[bool]:
    """Return of which images colours are read with fewer bits than they have (`loses_depth`)."""
    return [isinstance(item, Image.Image) and loses_depth(item) for item in _listed("image", image)]


def make_output(
    image: Picture | Sequence[Picture],
    results: Sequence[ImageResult],
    output_type: str,
    reduced: Sequence[bool],
) -> RefineByAlignOutput:
    """Gather results.

    Args:
        image: As it was given.
        results: One an image.
        output_type: The images' form; PIL in their input's mode.
        reduced: `reduced_depths`, from before the images were read.
    """
    firsts = [result.defects[0] if result.defects else None for result in results]
    mended = [None if first is None else first.result for first in firsts]
    alignments = [None if result is None else result.alignment for result in mended]
    return RefineByAlignOutput(
        images=[
            _formed(original, result, output_type)
            for original, result in zip(_listed("image", image), results, strict=True)
        ],
        correspondence_maps=[item.correspondence_map if item else None for item in alignments],
        correspondence_masks=[item.correspondence_mask if item else None for item in mended],
        reference_boxes=[item.reference_box if item else None for item in mended],
        references=[item.choice.index if item else None for item in firsts],
        crop_boxes=[item.crop_box if item else None for item in mended],
        confidences=[item.confidence if item else float("nan") for item in alignments],
        fallbacks=[item is not None and item.fallback for item in alignments],
        masks_grown=[item is not None and item.mask_grown for item in firsts],
        colour_depths_reduced=list(reduced),
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


def _grouped(name: str, given: object, count: int) -> list[list[Any]]:
    """Return one list an image; several pictures for a single image are its list."""
    listed = _listed(name, given)
    if count == 1 and len(listed) > 1:
        return [listed]
    matched = _matched(name, listed, count)
    return [list(item) if isinstance(item, (list, tuple)) else [item] for item in matched]


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


def _formed(original: object, result: ImageResult, output_type: str) -> Any:
    if output_type == "pil":
        if isinstance(original, Image.Image):
            return in_form_of(original, result.image, result.feather_mask() > 0)
        return Image.fromarray(result.image)
    shares = result.image.astype(np.float32) / 255
    return shares if output_type == "np" else torch.from_numpy(shares).permute(2, 0, 1).contiguous()
