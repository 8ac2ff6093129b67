"""More kinds of damage: focus, colours, double pictures, and marks that are missing or wrong.

All take the part to damage [h, w, 3] uint8, its artifact mask [h, w] bool, and a generator.
"""

import cv2
import numpy as np

from rba.geometry import mask_box
from rba.rendering.colours import strong_colours
from rba.rendering.glyphs import Glyphs
from rba.rendering.prints import PRINTS


def blur(part: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put the content out of focus: a Gaussian of 12 to 22 % of the mask's longer side."""
    return cv2.GaussianBlur(part, (0, 0), max(_side(mask) * float(rng.uniform(0.12, 0.22)), 1.2))


def recolour(part: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn the hues by a quarter to three quarters of the circle, and tint what has no hue."""
    del mask
    hsv = cv2.cvtColor(part, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(rng.integers(64, 193))
    turned = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.float32)
    tint = np.array(strong_colours(rng, 1)[0], np.float32)
    return np.rint(0.8 * turned + 0.2 * tint).astype(np.uint8)


def ghost(part: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Lay a second, moved copy of the content over the first, as of two undecided pictures."""
    reach = max(_side(mask) * rng.uniform(0.25, 0.45), 2.0)
    angle = rng.uniform(0, 2 * np.pi)
    move = np.array([[1, 0, reach * np.cos(angle)], [0, 1, reach * np.sin(angle)]], np.float32)
    size = (part.shape[1], part.shape[0])
    copy = cv2.warpAffine(part, move, size, borderMode=cv2.BORDER_REFLECT)
    share = rng.uniform(0.5, 0.65)
    return cv2.addWeighted(part, 1.0 - share, copy, share, 0.0)


def erase(part: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leave the mark out: the surroundings grown over it (Telea's inpainting)."""
    del rng
    filled = cv2.inpaint(part, mask.astype(np.uint8), 3.0, cv2.INPAINT_TELEA)
    return cv2.GaussianBlur(filled, (0, 0), 0.8)


def wrong_mark(
    part: np.ndarray, mask: np.ndarray, rng: np.random.Generator, glyphs: Glyphs
) -> np.ndarray:
    """Print another label, word, logo or pattern where the right one was."""
    box = mask_box(mask)
    side = max(box.width, box.height, 6)
    x, y = (box.x0 + box.x1) // 2, (box.y0 + box.y1) // 2
    kinds = tuple(PRINTS)
    result = part.copy()
    left, top = max(x - side // 2, 0), max(y - side // 2, 0)
    right, bottom = min(left + side, part.shape[1]), min(top + side, part.shape[0])
    kinds[int(rng.integers(len(kinds)))](result, (left, top, right, bottom), rng, glyphs)
    return result


def _side(mask: np.ndarray) -> int:
    box = mask_box(mask)
    return max(box.width, box.height)
