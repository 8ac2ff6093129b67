"""The single prints: labels, words, logos and patterns in strong colours."""

from collections.abc import Callable

import cv2
import numpy as np

from rba.rendering.colours import Colour, strong_colours
from rba.rendering.glyphs import Glyphs

_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)

# x0, y0, x1, y1 in pixels of the texture.
Rectangle = tuple[int, int, int, int]


def _word(letters: str, rng: np.random.Generator, shortest: int, longest: int) -> str:
    count = int(rng.integers(shortest, longest + 1))
    return "".join(letters[int(i)] for i in rng.integers(0, len(letters), count))


def draw_text(canvas: np.ndarray, text: str, box: Rectangle, colour: Colour, font: int) -> None:
    """Draw a line of text as large as a box allows, centred in it."""
    x0, y0, x1, y1 = box
    (width, height), _ = cv2.getTextSize(text, font, 1.0, 1)
    scale = 0.86 * min((x1 - x0) / max(width, 1), (y1 - y0) / max(height, 1))
    thickness = max(round(2.6 * scale), 1)
    (width, height), _ = cv2.getTextSize(text, font, scale, thickness)
    at = ((x0 + x1 - width) // 2, (y0 + y1 + height) // 2)
    cv2.putText(canvas, text, at, font, scale, colour, thickness, cv2.LINE_AA)


def _label(canvas: np.ndarray, box: Rectangle, rng: np.random.Generator, glyphs: Glyphs) -> None:
    """A framed plate with one or two lines of letters."""
    plate, ink, frame = strong_colours(rng, 3)
    x0, y0, x1, y1 = box
    cv2.rectangle(canvas, (x0, y0), (x1, y1), plate, cv2.FILLED)
    border = max((y1 - y0) // 18, 1)
    cv2.rectangle(canvas, (x0, y0), (x1, y1), ink if rng.random() < 0.5 else frame, border)
    inner = (x0 + 2 * border, y0 + 2 * border, x1 - 2 * border, y1 - 2 * border)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    middle = (inner[1] + inner[3]) // 2
    if rng.random() < 0.6:
        upper, lower = (*inner[:3], middle - border), (inner[0], middle + border, *inner[2:])
        draw_text(canvas, _word(glyphs.letters, rng, 2, 3), upper, ink, font)
        draw_text(canvas, _word(glyphs.letters, rng, 2, 4), lower, ink, font)
    else:
        draw_text(canvas, _word(glyphs.letters, rng, 1, 3), inner, ink, font)


def _outlined_word(
    canvas: np.ndarray, box: Rectangle, rng: np.random.Generator, glyphs: Glyphs
) -> None:
    """Letters straight on the photograph, with a contrasting shadow."""
    ink, shadow = strong_colours(rng, 2)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    text = _word(glyphs.letters, rng, 1, 3)
    step = max((box[3] - box[1]) // 24, 1)
    for dx, dy in ((step, step), (-step, step), (step, -step), (-step, -step)):
        moved = (box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy)
        draw_text(canvas, text, moved, shadow, font)
    draw_text(canvas, text, box, ink, font)


def _logo(canvas: np.ndarray, box: Rectangle, rng: np.random.Generator, glyphs: Glyphs) -> None:
    """A disc with a star or polygon on it and a letter or a smaller disc inside."""
    ground, figure, core = strong_colours(rng, 3)
    x0, y0, x1, y1 = box
    centre, radius = ((x0 + x1) // 2, (y0 + y1) // 2), max(min(x1 - x0, y1 - y0) // 2, 2)
    cv2.circle(canvas, centre, radius, ground, cv2.FILLED, cv2.LINE_AA)
    corners = glyphs.corners[int(rng.integers(len(glyphs.corners)))]
    inner = rng.uniform(0.4, 0.6) if corners > 3 and rng.random() < 0.6 else 1.0
    angles = np.arange(2 * corners) * (np.pi / corners) + rng.uniform(0, 2 * np.pi)
    radii = np.where(np.arange(2 * corners) % 2 == 0, 0.9, 0.9 * inner * np.cos(np.pi / corners))
    if inner < 1.0:
        radii = np.where(np.arange(2 * corners) % 2 == 0, 0.9, 0.9 * inner)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None] * radius
    outline = np.rint(points + centre).astype(np.int32)
    cv2.fillPoly(canvas, [outline], figure, cv2.LINE_AA)
    reach = max(round(0.42 * radius), 1)
    if rng.random() < 0.5:
        cv2.circle(canvas, centre, reach, core, cv2.FILLED, cv2.LINE_AA)
    else:
        around = (centre[0] - reach, centre[1] - reach, centre[0] + reach, centre[1] + reach)
        draw_text(canvas, _word(glyphs.letters, rng, 1, 1), around, core, cv2.FONT_HERSHEY_DUPLEX)


def _pattern(canvas: np.ndarray, box: Rectangle, rng: np.random.Generator, _glyphs: Glyphs) -> None:
    """A patch of slanted stripes, dots or a checker, in a rectangle or a disc."""
    x0, y0, x1, y1 = box
    patch = canvas[y0:y1, x0:x1]
    if patch.size == 0:
        return
    height, width = patch.shape[:2]
    angle = rng.uniform(0, np.pi)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    period = rng.uniform(0.16, 0.34) * min(height, width)
    along = (np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period)
    across = (-np.sin(angle) * x + np.cos(angle) * y) * (2 * np.pi / period)
    waves = (np.sin(along), np.sin(along) * np.sin(across), np.cos(along) + np.cos(across) - 0.6)
    wave = waves[int(rng.integers(3))] * (period / 4)
    mix = np.clip(wave + 0.5, 0.0, 1.0)[..., None]
    first, second = (np.array(colour, np.float32) for colour in strong_colours(rng, 2))
    drawn = np.rint(mix * first + (1 - mix) * second).astype(np.uint8)
    stencil = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        radius = min(height, width) // 2
        cv2.circle(stencil, (width // 2, height // 2), radius, 255, cv2.FILLED, cv2.LINE_AA)
    else:
        stencil[:] = 255
    weight = stencil[..., None].astype(np.float32) / 255.0
    patch[:] = np.rint(weight * drawn + (1 - weight) * patch).astype(np.uint8)


# How often each kind of print occurs.
PRINTS: dict[Callable[[np.ndarray, Rectangle, np.random.Generator, Glyphs], None], float] = {
    _label: 0.38,
    _outlined_word: 0.2,
    _logo: 0.24,
    _pattern: 0.18,
}
