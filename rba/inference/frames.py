"""The pictures that pass through the network, and the way back to the originals.

A frame is a square box of an original picture, which may reach outside it, resized to the
network's size: the zoom-in crop of the generated image, the complete reference, the reference's
matched region.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rba.geometry import (
    Box,
    cells_to_pixels,
    crop,
    feather,
    mask_box,
    paste,
    resize,
    resize_mask,
    square_around,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """A square part of a picture at the network's size.

    Attributes:
        box: Square, in pixels of the original.
        pixels: S x S x 3 uint8.
        mask: S x S bool: the artifact, the reference's object (where unknown, all of the picture
            without the bars that square it), or the matched region.
    """

    box: Box
    pixels: np.ndarray
    mask: np.ndarray

    @property
    def side(self) -> int:
        """S in pixels."""
        return self.pixels.shape[0]


def zoom_in(
    image: np.ndarray, mask: np.ndarray, size: int, *, factor: float | None, magnification: float
) -> Frame:
    """Cut the square around the artifact that both stages work on.

    Args:
        image: HxWx3 uint8, any size; edge pixels repeat where the square reaches outside.
        mask: HxW bool, the artifact, not empty.
        size: The network's image side S in pixels.
        factor: Side of the square in sides of the mask's box; None takes the whole image.
        magnification: At most this many pixels of the frame for one of the image, along an axis.

    Returns:
        The frame. It is never larger than the square around the whole image.
    """
    height, width = mask.shape
    box = mask_box(mask)
    whole = max(height, width)
    side = whole
    if factor is not None:
        wanted = max(factor * max(box.width, box.height), size / magnification)
        side = min(int(np.ceil(wanted)), whole)
    square = square_around(box, height, width, side)
    return Frame(
        box=square,
        pixels=resize(crop(image, square), size, size),
        mask=resize_mask(crop(mask, square, fill=0), size, size),
    )


def reference_frame(
    reference: np.ndarray, mask: np.ndarray | None, size: int, *, object_margin: float
) -> Frame:
    """Cut the complete reference, squared on black, as the alignment mode of training shows it.

    Where the object's mask is known: the square around the object, which stands alone. Otherwise
    the whole picture.

    Args:
        reference: hxwx3 uint8.
        mask: hxw bool, the object, or None.
        size: R in pixels.
        object_margin: Margin around the object on every side, share of its longer side.
    """
    height, width = reference.shape[:2]
    visible = np.ones((height, width), bool) if mask is None else mask
    if mask is not None and mask.any():
        square = _squared(mask_box(mask), object_margin)
    else:
        square = _squared(Box(0, 0, width, height), 0.0)
    return Frame(
        box=square,
        pixels=cut_reference(reference, mask, square, size),
        mask=resize_mask(crop(visible, square, fill=0), size, size),
    )


def region_frame(
    reference: np.ndarray, mask: np.ndarray | None, region: np.ndarray, complete: Frame, cells: int
) -> Frame:
    """Cut the matched region: its tight box plus one cell, squared, from the original reference.

    Args:
        reference: hxwx3 uint8.
        mask: hxw bool, the object, or None.
        region: hxw bool, not empty.
        complete: The frame of the complete reference, R pixels wide.
        cells: n; one cell is the n-th part of that frame's box.

    Returns:
        The frame, R pixels wide; its mask is the region.
    """
    height, width = region.shape
    size, margin = complete.side, -(-complete.box.width // cells)
    grown = mask_box(region).grown(margin)
    inside = Box(max(grown.x0, 0), max(grown.y0, 0), min(grown.x1, width), min(grown.y1, height))
    square = square_around(inside, height, width, max(inside.width, inside.height))
    return Frame(
        box=square,
        pixels=cut_reference(reference, mask, square, size),
        mask=resize_mask(crop(region, square, fill=0), size, size),
    )


def cells_on_reference(cells: np.ndarray, frame: Frame, height: int, width: int) -> np.ndarray:
    """Map an n x n mask of tokens of a frame back to the original height x width reference.

    What the frame does not show is False.
    """
    square = cells_to_pixels(cells, frame.box.height, frame.box.width)
    return paste(np.zeros((height, width), bool), square, frame.box)


def mask_in_frame(mask: np.ndarray, frame: Frame) -> np.ndarray:
    """Bring a soft or bool mask of the original picture into a frame: S x S float32 in [0, 1]."""
    cut = crop(mask.astype(np.float32), frame.box, fill=0)
    return np.clip(resize(cut, frame.side, frame.side), 0.0, 1.0)


def paste_back(
    image: np.ndarray, mask: np.ndarray, patch: np.ndarray, box: Box, reach: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Blend a refined frame into the original; where the weight is 0 it stays bit-equal.

    Args:
        image: HxWx3 uint8, the original.
        mask: HxW bool, the artifact.
        patch: S x S x 3 uint8, the refined frame.
        box: The frame's box in the original.
        reach: (dilation, radius) of the feathering in pixels of the frame; in the original they are
            scaled and rounded down.

    Returns:
        The refined image, and the weights over ``box`` as float32 in [0, 1], 1 on the mask.
    """
    scale = box.width / patch.shape[0]
    dilation, radius = (int(pixels * scale) for pixels in reach)
    weights = feather(crop(mask, box, fill=0), dilation, radius)
    before = crop(image, box)
    fitted = resize(patch, box.height, box.width).astype(np.float32)
    share = weights[..., None]
    blended = np.clip(np.rint(share * fitted + (1.0 - share) * before), 0, 255).astype(np.uint8)
    after = np.where(share > 0, blended, before)
    return paste(image, after, box), weights


def images_to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """Stack HxWx3 uint8 pictures to [B, 3, H, W] float32 in [-1, 1], as `Batch.normalized` does."""
    stacked = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return stacked.float() / 127.5 - 1.0


def masks_to_tensor(masks: Sequence[np.ndarray]) -> Tensor:
    """Stack HxW bool masks to [B, 1, H, W] bool."""
    return torch.from_numpy(np.stack(masks)).unsqueeze(1)


def tensor_to_images(tensor: Tensor) -> list[np.ndarray]:
    """Turn [B, 3, H, W] in [-1, 1] into HxWx3 uint8 pictures."""
    scaled = ((tensor.float() + 1.0) * 127.5).round().clamp(0, 255)
    return list(scaled.byte().permute(0, 2, 3, 1).cpu().numpy())


def cut_reference(
    reference: np.ndarray, mask: np.ndarray | None, box: Box, size: int
) -> np.ndarray:
    """Cut a square of the reference on black, the object alone where its mask is known.

    Args:
        reference: hxwx3 uint8.
        mask: hxw bool, the object, or None.
        box: Square in pixels; black outside the picture.
        size: Side of the cut in pixels.

    Returns:
        size x size x 3 uint8.
    """
    pixels = crop(reference, box, fill=0)
    if mask is not None:
        pixels = pixels * crop(mask, box, fill=0)[..., None]
    return resize(pixels.astype(np.uint8), size, size)


def _squared(box: Box, margin: float) -> Box:
    """Return the square around the middle of a box, with a margin in shares of its longer side."""
    longest = max(box.width, box.height)
    side = max(round(longest * (1.0 + 2.0 * margin)), longest)
    x0, y0 = (box.x0 + box.x1 - side) // 2, (box.y0 + box.y1 - side) // 2
    return Box(x0, y0, x0 + side, y0 + side)
