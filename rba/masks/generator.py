"""Draw artifact masks: the statistics first, then shapes that meet them, then a place."""

import numpy as np

from rba.masks.groups import MaskProfile
from rba.masks.layout import build_mask
from rba.masks.placement import place_by_weight, place_crossing, place_freely, place_inside

_MIN_PIXELS = 16
_LARGEST_SHARE = 0.95  # of the image


def generate_mask(
    profile: MaskProfile,
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    inside: np.ndarray | None = None,
    crossing: np.ndarray | None = None,
    detail: np.ndarray | None = None,
) -> np.ndarray:
    """Draw one mask: a pure function of the profile, the generator's state and the size.

    Its area is the drawn one within 5 % or 4 pixels, whichever is more; the other statistics are
    met as nearly as the size allows. At most one of the last three says where it lies, otherwise
    its distance to the border is drawn as well.

    Args:
        profile: The population.
        rng: From `rba.draws.keyed_generator`.
        height: Height in pixels; height * width >= 16.
        width: Width in pixels.
        inside: HxW bool of allowed pixels, for example an object's mask. The mask's centre is put
            on one of them and the mask is kept on them; it is smaller than drawn where that would
            fill more than nine tenths of them.
        crossing: HxW bool, an object's mask, whose edge the mask is to cross.
        detail: HxW float >= 0, chances of the mask's centre, see `placement.detail_map`.

    Returns:
        HxW bool, never empty, never full.

    Raises:
        ValueError: If the image is too small, more than one place is given, or one is empty or of
            another size.
    """
    size = (height, width)
    if height * width < _MIN_PIXELS:
        raise ValueError(f"an image of {width}x{height} pixels is too small for an artifact mask")
    places = [place for place in (inside, crossing, detail) if place is not None]
    if len(places) > 1:
        raise ValueError("give one of inside, crossing and detail")
    for place in places:
        if place.shape != size or not place.any():
            raise ValueError(
                f"allowed places of shape {place.shape} with {np.count_nonzero(place)} pixels set "
                f"do not fit a mask of {width}x{height} pixels"
            )
    group, target = profile.draw(rng)
    pixels = round(min(target.area_ratio, _LARGEST_SHARE) * height * width)
    pixels = min(max(pixels, 1), height * width - 1)
    built = build_mask(group, target, pixels, size, rng, free=not places)
    if inside is not None:
        return place_inside(built.window, pixels, inside, rng)
    if crossing is not None:
        return place_crossing(built.window, crossing, rng)
    if detail is not None:
        return place_by_weight(built.window, detail, rng)
    return place_freely(built, target.border_distance, size, rng)
