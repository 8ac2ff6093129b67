"""The tiles that show one record: object, artifact masks, matches, and where a hole maps to."""

import colorsys
import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from rba.batch import Mode
from rba.data.drawn_masks import allowed_pixels, draw_masks
from rba.data.matchfield import MatchField, lattice_points, lattice_spacing, lattice_split, splat
from rba.data.sample import MATCH_STRIDE, AlignmentRecord, RefinementRecord, pixels
from rba.geometry import Box, crop, mask_box, resize, resize_mask, square_around
from rba.masks.profile import MaskProfile

LEGENDS = {
    Mode.ALIGNMENT: (
        "left: object in cyan   right, closer: artifact masks as training might draw them"
    ),
    Mode.REFINEMENT: (
        "left pair: object in cyan, a match has one colour in both views   "
        "right pair: artifact masks, and where their content lies on the reference"
    ),
}
NUM_TILES = {Mode.ALIGNMENT: 2, Mode.REFINEMENT: 4}
_ROOM = 0.2  # around an object, share of its longer side
_MATTE = 236  # grey beside pictures that are not square
_FILL = 0.35
_OBJECT = (0, 215, 255)
_HOLES = ((255, 64, 96), (255, 200, 40), (90, 230, 90), (200, 110, 255), (80, 170, 255))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Strip:
    """One record as the sheet shows it.

    Attributes:
        caption: The line above: shard and key.
        tiles: side x side x 3 uint8 each.
        facts: The line below that.
        fault: Why there are no tiles.
    """

    caption: str
    tiles: Sequence[np.ndarray]
    facts: str = ""
    fault: str = ""


class _Tile:
    """A square part of a picture, shown at ``side`` pixels: the object with room, or all of it."""

    def __init__(self, image: np.ndarray, side: int, mask: np.ndarray | None) -> None:
        self.size = image.shape[:2]
        self.side = side
        self.box = _shown_box(self.size, mask)
        self.scale = side / self.box.width
        self.pixels = resize(crop(image, self.box, fill=_MATTE), side, side)

    def fit(self, mask: np.ndarray) -> np.ndarray:
        """Show a mask over the whole picture, of any resolution, as side x side bool."""
        whole = resize_mask(mask, *self.size)
        return resize_mask(crop(whole, self.box, fill=0), self.side, self.side)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Map [N, 2] points of the picture to points of the tile."""
        return (points - (self.box.x0, self.box.y0)) * self.scale

    def outline(self, mask: np.ndarray, colour: tuple[int, int, int], *, fill: float = 0.0) -> None:
        """Draw a side x side mask: its outline, and its inside with the opacity ``fill``."""
        inside = self.pixels[mask].astype(np.float32)
        self.pixels[mask] = np.rint(inside * (1 - fill) + np.array(colour) * fill)
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(self.pixels, contours, -1, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.drawContours(self.pixels, contours, -1, colour, 2, cv2.LINE_AA)

    def dot(self, point: np.ndarray, colour: tuple[int, int, int]) -> None:
        """Draw a dot at a point of the tile."""
        x, y = (round(16 * (float(value) - 0.5)) for value in point)
        radius = round(16 * max(2.5, self.side / 64))
        cv2.circle(self.pixels, (x, y), radius + 20, (0, 0, 0), -1, cv2.LINE_AA, 4)
        cv2.circle(self.pixels, (x, y), radius, colour, -1, cv2.LINE_AA, 4)


def alignment_strip(
    record: AlignmentRecord, profile: MaskProfile, rng: np.random.Generator, masks: int, side: int
) -> Strip:
    """Show a photo with its object, and again with artifact masks drawn on it."""
    first, second = (_Tile(pixels(record.image), side, mask) for mask in (None, record.mask))
    height, width = record.image.shape[:2]
    facts = [f"{width}x{height}"]
    if record.mask is not None:
        first.outline(first.fit(record.mask), _OBJECT)
        facts.append(f"object {record.mask.mean():.0%} of it")
    holes = _largest_first(draw_masks(profile, rng, masks, (height, width), record.mask))
    for hole, colour in zip(holes, _colours(masks), strict=True):
        second.outline(second.fit(hole), colour, fill=_FILL)
    facts.append("artifact masks " + " ".join(f"{hole.mean():.1%}" for hole in holes))
    return Strip(caption="", facts="   ".join(facts), tiles=[first.pixels, second.pixels])


def refinement_strip(
    record: RefinementRecord,
    profile: MaskProfile,
    rng: np.random.Generator,
    masks: int,
    points: int,
    side: int,
) -> Strip:
    """Show a pair with matching points, and again with holes and where they map to."""
    views = [
        (pixels(record.target), record.target_mask),
        (pixels(record.reference), record.reference_mask),
    ]
    target, reference, hole_tile, region_tile = (
        _Tile(image, side, mask) for image, mask in (*views, *views)
    )
    for tile, mask in ((target, record.target_mask), (reference, record.reference_mask)):
        if mask is not None:
            tile.outline(tile.fit(mask), _OBJECT)
    tiles = [tile.pixels for tile in (target, reference, hole_tile, region_tile)]
    if record.matches is None:
        return Strip(caption="", facts="no matches", tiles=tiles)
    size = (record.reference.shape[0], record.reference.shape[1])
    field = MatchField(record.matches, size)
    nodes = _spread(np.argwhere(field.valid), points)
    places = (nodes[:, ::-1] + 0.5) * MATCH_STRIDE + 0.5
    found = record.matches[nodes[:, 0], nodes[:, 1], :2].astype(np.float64) * size[::-1]
    for number, (here, there) in enumerate(zip(places, found, strict=True)):
        target.dot(target.place(here), _dot_colour(number))
        reference.dot(reference.place(there), _dot_colour(number))
    size = (record.target.shape[0], record.target.shape[1])
    allowed = allowed_pixels(record.target_mask, field.valid, size)
    holes = _largest_first(draw_masks(profile, rng, masks, size, allowed))
    shares: list[str] = []
    for hole, colour in zip(holes, _colours(masks), strict=True):
        hole_tile.outline(hole_tile.fit(hole), colour, fill=_FILL)
        region, share = _region(hole, field, record.target.shape[1], region_tile)
        region_tile.outline(region, colour, fill=_FILL)
        shares.append(f"{share:.0%}")
    facts = [f"{int(field.valid.sum())} matches"]
    facts += [str(record.metadata[name]) for name in ("matcher",) if name in record.metadata]
    facts.append(f"matched of the masks {' '.join(shares)}")
    return Strip(caption="", facts="   ".join(facts), tiles=tiles)


def _region(
    hole: np.ndarray, field: MatchField, target_width: int, tile: _Tile
) -> tuple[np.ndarray, float]:
    """Return where a hole's content lies on the reference's tile, and the share with a match."""
    scale = target_width / hole.shape[1]
    mapped = field(lattice_points(hole, 1) * scale)
    share = float(np.isfinite(mapped[:, 0]).mean())
    spacing = lattice_spacing(hole, tile.place(mapped))
    split = lattice_split(len(mapped), spacing)
    points = field(lattice_points(hole, split) * scale)
    points = points[np.isfinite(points).all(axis=1)]
    return splat(tile.place(points), tile.side, spacing / split) >= 0.5, share


def _shown_box(size: tuple[int, ...], mask: np.ndarray | None) -> Box:
    """Return the square to show: around the object where it is known, or the whole picture."""
    height, width = size
    seen = mask_box(mask) if mask is not None and mask.any() else Box(0, 0, width, height)
    room = 0.0 if mask is None else _ROOM
    side = min(round(max(seen.width, seen.height) * (1 + 2 * room)), max(size))
    return square_around(seen, height, width, side)


def _spread(nodes: np.ndarray, count: int) -> np.ndarray:
    """Choose nodes that lie far from each other, one after the other."""
    if len(nodes) <= count:
        return nodes
    middle = nodes.mean(axis=0)
    chosen = [int(np.argmin(((nodes - middle) ** 2).sum(axis=1)))]
    distance = np.full(len(nodes), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, ((nodes - nodes[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(np.argmax(distance)))
    return nodes[chosen]


def _dot_colour(number: int) -> tuple[int, int, int]:
    """Return a colour that differs from those of the numbers before: hues by the golden ratio."""
    hue = (number * 0.618034) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.55 + 0.45 * (number % 2), 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def _largest_first(holes: list[np.ndarray]) -> list[np.ndarray]:
    """Order masks so that small ones are drawn over large ones."""
    return sorted(holes, key=lambda hole: -int(hole.sum()))


def _colours(count: int) -> list[tuple[int, int, int]]:
    return [_HOLES[number % len(_HOLES)] for number in range(count)]
