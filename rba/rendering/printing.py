"""Print letters, logos and patterns in strong colours over a surface.

What is printed cannot be guessed from its surroundings: only a reference of the object tells it.
"""

from collections.abc import Sequence

import numpy as np

from rba.draws import keyed_generator
from rba.rendering.glyphs import Glyphs
from rba.rendering.ground import draw_ground
from rba.rendering.mesh import Mesh
from rba.rendering.prints import PRINTS, Rectangle
from rba.rendering.raster import Raster
from rba.rendering.style import PrintStyle

_MOST_TEXELS_A_SIDE = 1536


def print_surfaces(
    mesh: Mesh,
    seen: Sequence[Raster],
    photos: Sequence[np.ndarray],
    seed: int,
    size: int,
    style: PrintStyle,
    glyphs: Glyphs | None = None,
    *,
    look_alikes: bool = False,
) -> dict[int, np.ndarray]:
    """Print the surfaces of a mesh that at least one view shows.

    Args:
        mesh: The object.
        seen: What the views show of it.
        photos: hxwx3 uint8 each; one is chosen for each surface.
        seed: Each surface has its own generator, so what is not seen need not be printed.
        size: Side of the views in pixels.
        style: As in `print_design`, and so the last two.
        glyphs: What is printed; all by default.
        look_alikes: Print every design of a surface twice.

    Returns:
        Surface number to texture, hxwx3 uint8.
    """
    shown = [n for n in range(len(mesh.aspects)) if any((r.surface == n).any() for r in seen)]
    surfaces: dict[int, np.ndarray] = {}
    for number in shown:
        rng = keyed_generator(seed, "print", "surface", number)
        photo = photos[int(rng.integers(len(photos)))]
        aspect = mesh.aspects[number]
        side = min(max(round(1.25 * size), 160), _MOST_TEXELS_A_SIDE)
        width = min(max(round(side * np.sqrt(aspect)), 16), 2 * _MOST_TEXELS_A_SIDE)
        height = max(round(width / aspect), 16)
        surfaces[number] = print_design(
            photo, rng, width, height, style, glyphs, look_alikes=look_alikes
        )
    return surfaces


def print_design(
    photo: np.ndarray,
    rng: np.random.Generator,
    width: int,
    height: int,
    style: PrintStyle | None = None,
    glyphs: Glyphs | None = None,
    *,
    look_alikes: bool = False,
) -> np.ndarray:
    """Cover a surface: a ground, coloured where a photograph is grey, mostly printed over.

    Args:
        photo: hxwx3 uint8.
        rng: Source of all randomness.
        width: Width of the texture in pixels.
        height: Height of the texture in pixels.
        style: How densely, and on what ground; the share of look-alikes is the caller's matter.
        glyphs: What is printed; all by default.
        look_alikes: Print every design twice, the same pixels of ink at two random places.

    Returns:
        height x width x 3 uint8.
    """
    style, glyphs = style or PrintStyle(), glyphs or Glyphs()
    canvas = draw_ground(photo, rng, width, height, style.mosaic_share)
    density = rng.uniform(*style.density)
    columns = max(round(density * max(width / height, 0.7)), 1)
    rows = max(round(density * max(height / width, 0.7)), 1)
    if look_alikes:
        _print_twice(canvas, rng, columns, rows, style.empty_share, glyphs)
        return canvas
    for row in range(rows):
        for column in range(columns):
            if rng.random() < style.empty_share:
                continue
            cell = (
                column * width // columns,
                row * height // rows,
                (column + 1) * width // columns,
                (row + 1) * height // rows,
            )
            _print_cell(canvas, cell, rng, glyphs)
    return canvas


def _print_twice(
    canvas: np.ndarray,
    rng: np.random.Generator,
    columns: int,
    rows: int,
    empty_share: float,
    glyphs: Glyphs,
) -> None:
    """Pair the cells at random and print each pair by one seed; of an odd number one is single."""
    height, width = canvas.shape[:2]
    if columns * rows == 1:
        columns, rows = (2, 1) if width >= height else (1, 2)
    # All cells have one size, whatever the division leaves over.
    across, down = width // columns, height // rows
    order = rng.permutation(columns * rows)
    for start in range(0, len(order), 2):
        seed = int(rng.integers(2**62))
        if rng.random() < empty_share:
            continue
        for place in order[start : start + 2]:
            row, column = divmod(int(place), columns)
            top, left = row * height // rows, column * width // columns
            # A canvas of its own, so that ink beyond the cell is cut off alike in both places.
            part = canvas[top : top + down, left : left + across]
            _print_cell(
                part, (0, 0, across, down), keyed_generator(seed, "print", "cell", 0), glyphs
            )


def _print_cell(
    canvas: np.ndarray, cell: Rectangle, rng: np.random.Generator, glyphs: Glyphs
) -> None:
    kinds = tuple(PRINTS)
    weights = np.array([PRINTS[kind] for kind in kinds], np.float64)
    kind = int(rng.choice(len(kinds), p=weights / weights.sum()))
    kinds[kind](canvas, _jittered(cell, rng), rng, glyphs)


def _jittered(cell: Rectangle, rng: np.random.Generator) -> Rectangle:
    """Shrink a cell by a random margin on every side."""
    x0, y0, x1, y1 = cell
    margin = rng.uniform(0.03, 0.14, 4) * min(x1 - x0, y1 - y0)
    left, top, right, bottom = (round(float(value)) for value in margin)
    return x0 + left, y0 + top, x1 - right, y1 - bottom
