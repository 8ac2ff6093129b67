"""References that make matching hard: parts of the object hidden, or the object there often."""

import cv2
import numpy as np

from rba.rendering.colours import strong_colours

_MOST = 400  # things in front that are tried
_ROOM = 2  # pixels that stay free around what must be seen


def occlude(
    picture: np.ndarray,
    object_mask: np.ndarray,
    kept: np.ndarray,
    share: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Put striped slabs before an object until a share of it is hidden.

    Args:
        picture: HxWx3 uint8.
        object_mask: HxW bool.
        kept: HxW bool, what must stay visible; slabs stay two pixels away from it.
        share: Of the object's pixels outside ``kept``, in [0, 1); reached as nearly as the room
            around ``kept`` allows, and overshot by less than a slab.
        rng: Source of all randomness.

    Returns:
        The picture and the mask of what is left of the object.
    """
    free = object_mask & ~kept
    grown = np.ones((2 * _ROOM + 1, 2 * _ROOM + 1), np.uint8)
    barred = cv2.dilate(kept.astype(np.uint8), grown) > 0
    hidden = np.zeros_like(object_mask)
    result = picture.copy()
    rows, columns = np.nonzero(free)
    side = 0.4 * np.sqrt(object_mask.sum())
    for attempt in range(_MOST):
        if not free.any() or hidden[free].mean() >= share:
            break
        place = int(rng.integers(len(rows)))
        # Slabs get smaller where no large one fits.
        size = side * rng.uniform(0.6, 1.2, 2) * (1.0 - 0.75 * attempt / _MOST)
        angle = float(rng.uniform(0, 180))
        slab = np.zeros(object_mask.shape, np.uint8)
        centre = (float(columns[place]), float(rows[place]))
        corners = cv2.boxPoints((centre, (float(size[0]), float(size[1])), angle))
        cv2.fillPoly(slab, [np.rint(corners).astype(np.int32)], 1)
        colours = strong_colours(rng, 2)
        if (barred & (slab > 0)).any():
            continue
        result[slab > 0] = _stripes(slab.shape, colours, angle, max(side / 5, 2.0))[slab > 0]
        hidden |= slab > 0
    return result, object_mask & ~hidden


def repeat(picture: np.ndarray, count: int) -> tuple[np.ndarray, list[tuple[slice, slice]]]:
    """Lay equal pictures side by side, in rows that are about as many as columns.

    Args:
        picture: HxWx3 or HxW.
        count: At least 1; where it leaves the last row short, what is left repeats the background's
            corner pixel.

    Returns:
        The large picture, and where in it each copy lies.
    """
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    height, width = picture.shape[:2]
    large = np.empty((rows * height, columns * width, *picture.shape[2:]), picture.dtype)
    large[:] = picture[0, 0]
    places: list[tuple[slice, slice]] = []
    for number in range(count):
        row, column = divmod(number, columns)
        place = (
            slice(row * height, (row + 1) * height),
            slice(column * width, (column + 1) * width),
        )
        large[place] = picture
        places.append(place)
    return large, places


def _stripes(
    shape: tuple[int, ...], colours: list[tuple[int, int, int]], angle: float, period: float
) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    along = np.cos(np.deg2rad(angle)) * x + np.sin(np.deg2rad(angle)) * y
    first = (along / period) % 1.0 < 0.5
    return np.where(first[..., None], *np.array(colours, np.uint8))
