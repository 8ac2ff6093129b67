"""A contact sheet of a set of shards that a person can judge: a strip of pictures a record."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rba.data.preview_tiles import LEGENDS, NUM_TILES, Strip, alignment_strip, refinement_strip
from rba.data.record_choice import RecordPlace, choose_records
from rba.data.sample import AlignmentRecord, RecordError, decode_record
from rba.data.shards import ShardSet
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.profile import MaskProfile, load_profile

_GAP = 6  # pixels between the tiles of a strip
_MARGIN = 22  # pixels between strips
_CAPTION = 18  # pixels, each of the two lines above a strip
_HEAD = 2 * _CAPTION + 4  # pixels above the tiles of a strip
_TITLE = 40  # pixels, the line above all
_PAPER = (255, 255, 255)
_INK = (33, 37, 41)
_FAINT = (110, 117, 125)
_BAD = (190, 30, 45)
_MOST_PIXELS = 200_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreviewSettings:
    """What the sheet shows.

    Attributes:
        count: Records, drawn at random, in the set's order.
        seed: Of the choice of records and of the artifact masks.
        profile: Name of a shipped mask profile or path of a file.
        masks: Artifact masks drawn on each record.
        points: Matches shown on a pair, spread over the target.
        columns: Strips side by side.
        side: Side of a tile in pixels.

    Raises:
        InputError: If a number is out of bounds.
    """

    count: int = 12
    seed: int = 0
    profile: str = "pal"
    masks: int = 2
    points: int = 24
    columns: int = 2
    side: int = 224

    def __post_init__(self) -> None:
        for name, low, high in (
            ("count", 1, 2000),
            ("masks", 1, 12),
            ("points", 1, 500),
            ("columns", 1, 20),
            ("side", 64, 1024),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name}={getattr(self, name)}; give {low} to {high}")


def preview_sheet(shards: ShardSet, settings: PreviewSettings) -> np.ndarray:
    """Draw the sheet.

    Returns:
        HxWx3 uint8 RGB. A record that cannot be read gets a line with the reason.

    Raises:
        InputError: If the profile does not exist, or the sheet would be too large for memory.
    """
    profile = load_profile(settings.profile)
    places = choose_records(shards, settings.count, "preview", settings.seed)
    layout = _Layout(NUM_TILES[shards.kind], len(places), settings)
    strips = [_strip(shards, place, profile, settings) for place in places]
    title = f"{shards.name}: {len(strips)} of {len(shards):,} {shards.kind.value} records"
    details = f"seed {settings.seed}   artifact masks of profile {profile.name}"
    return _compose(strips, title, f"{details}   {LEGENDS[shards.kind]}", layout)


def _strip(
    shards: ShardSet, place: RecordPlace, profile: MaskProfile, settings: PreviewSettings
) -> Strip:
    stem, key = shards.entries[place.shard].name.removesuffix(".tar"), f"sample {place.index}"
    try:
        key, members = shards.read(place.shard, place.index)
        record = decode_record(shards.kind, key, members)
    except RecordError as error:
        return Strip(caption=f"{stem}  {key}", tiles=[], fault=str(error))
    rng = keyed_generator(settings.seed, "preview masks", shards.kind.value, place.number)
    if isinstance(record, AlignmentRecord):
        strip = alignment_strip(record, profile, rng, settings.masks, settings.side)
    else:
        holes, points = settings.masks, settings.points
        strip = refinement_strip(record, profile, rng, holes, points, settings.side)
    return dataclasses.replace(strip, caption=f"{stem}  {key}")


class _Layout:
    """Where strips lie on the sheet, in pixels.

    Raises:
        InputError: If the sheet would be too large for memory.
    """

    def __init__(self, tiles: int, count: int, settings: PreviewSettings) -> None:
        self.side = settings.side
        self.columns = min(settings.columns, count)
        self.strip_width = tiles * self.side + (tiles - 1) * _GAP
        self.strip_height = _HEAD + self.side
        self.width = _MARGIN + self.columns * (self.strip_width + _MARGIN)
        rows = -(-count // self.columns)
        self.top = _TITLE + _CAPTION + _MARGIN // 2
        self.height = self.top + rows * (self.strip_height + _MARGIN)
        if self.width * self.height > _MOST_PIXELS:
            raise InputError(
                f"a sheet of {self.width}x{self.height} pixels is too large; lower count or side"
            )

    def corner(self, number: int) -> tuple[int, int]:
        """Return x and y of a strip's upper left corner."""
        row, column = divmod(number, self.columns)
        x = _MARGIN + column * (self.strip_width + _MARGIN)
        return x, self.top + row * (self.strip_height + _MARGIN)


def _compose(strips: Sequence[Strip], title: str, details: str, layout: _Layout) -> np.ndarray:
    canvas = Image.new("RGB", (layout.width, layout.height), _PAPER)
    draw = ImageDraw.Draw(canvas)
    large, small = ImageFont.load_default(18), ImageFont.load_default(13)
    room = layout.width - 2 * _MARGIN
    _text(draw, (_MARGIN, _TITLE // 2 + 4), title, _INK, large, room)
    _text(draw, (_MARGIN, _TITLE + _CAPTION // 2), details, _FAINT, small, room)
    for number, strip in enumerate(strips):
        left, top = layout.corner(number)
        room = layout.strip_width
        _text(draw, (left, top + _CAPTION // 2), strip.caption, _INK, small, room)
        facts = (strip.fault, _BAD) if strip.fault else (strip.facts, _FAINT)
        _text(draw, (left, top + _CAPTION * 3 // 2), *facts, small, room)
        for place, tile in enumerate(strip.tiles):
            corner = (left + place * (layout.side + _GAP), top + _HEAD)
            canvas.paste(Image.fromarray(tile), corner)
    return np.asarray(canvas)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    colour: tuple[int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    room: int,
) -> None:
    """Write a line, its end left out where it has no room."""
    shown = text
    while len(shown) > 1 and draw.textlength(shown, font=font) > room:
        shown = shown[:-2].rstrip() + "…"
    draw.text(place, shown, fill=colour, font=font, anchor="lm")
