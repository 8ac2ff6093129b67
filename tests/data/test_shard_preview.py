"""The contact sheet: what is drawn lies where it should, bad records do not spoil it."""

import dataclasses
import shutil

import numpy as np
import pytest

from rba.batch import Mode
from rba.data.drawn_masks import allowed_pixels, draw_masks
from rba.data.matchfield import MatchField
from rba.data.preview_tiles import _region, _spread, _Tile, alignment_strip, refinement_strip
from rba.data.record_choice import choose_records
from rba.data.sample import AlignmentRecord
from rba.data.shard_preview import PreviewSettings, preview_sheet
from rba.data.shards import ShardSet
from rba.errors import InputError
from rba.masks import load_profile

PAL = load_profile("pal")


def disc(height, width, x, y, radius):
    rows, columns = np.mgrid[0:height, 0:width]
    return (columns - x) ** 2 + (rows - y) ** 2 < radius**2


def rng():
    return np.random.default_rng(0)


def test_the_sheet_is_a_function_of_set_and_settings(alignment_folder):
    shards = ShardSet.open(alignment_folder)
    settings = PreviewSettings(count=5, side=64, columns=3)
    sheet = preview_sheet(shards, settings)
    assert sheet.dtype == np.uint8
    assert sheet.shape[2] == 3
    np.testing.assert_array_equal(sheet, preview_sheet(ShardSet.open(alignment_folder), settings))
    other = preview_sheet(shards, dataclasses.replace(settings, seed=1))
    assert (sheet != other).any()


def test_records_are_chosen_without_repeats_in_order(alignment_folder):
    shards = ShardSet.open(alignment_folder)
    places = choose_records(shards, 9, "test", 0)
    numbers = [place.number for place in places]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 9
    for count in (0, 23, 99):
        everything = choose_records(shards, count, "test", 0)
        assert [p.number for p in everything] == list(range(23))
        assert [shards.read(p.shard, p.index)[0] for p in everything] == [
            f"{number:04d}" for number in range(23)
        ]


def test_a_tile_maps_points_and_masks_alike():
    image = np.zeros((120, 200, 3), np.uint8)
    mask = disc(120, 200, 150, 60, 20)
    tile = _Tile(image, 100, mask)
    spot = disc(120, 200, 155, 52, 4)
    rows, columns = np.nonzero(tile.fit(spot))
    middle = tile.place(np.array([[155.5, 52.5]]))[0]
    np.testing.assert_allclose([columns.mean() + 0.5, rows.mean() + 0.5], middle, atol=1.0)
    shown = tile.fit(mask)
    assert shown.sum() > 3 * mask.sum() * (100 / 200) ** 2, "the object is shown closer"
    whole = _Tile(image, 100, None)
    assert (whole.pixels[:20] != 0).all(), "beside a picture that is not square lies grey"
    assert (whole.pixels[25:75] == 0).all()


def test_a_hole_maps_to_where_its_content_lies(make):
    """A reference that is the target moved by (16, 8): so is the region."""
    matches = make.matches(96, 96, (16.0, 8.0))
    field = MatchField(matches, (96, 96))
    tile = _Tile(np.zeros((96, 96, 3), np.uint8), 192, None)
    hole = disc(48, 48, 20, 24, 6)  # of the target at half its size
    region, share = _region(hole, field, 96, tile)
    assert share == 1.0
    expected = disc(192, 192, 2 * (2 * 20.5 + 16) - 0.5, 2 * (2 * 24.5 + 8) - 0.5, 24)
    assert (region & expected).sum() / (region | expected).sum() > 0.9
    _, half = _region(disc(48, 48, 40, 24, 4), field, 96, tile)
    assert 0.0 < half < 1.0, "what leaves the reference has no match"


def test_dots_of_one_colour_lie_on_one_point_of_the_object(make):
    """The target's dots, found by their colour, lie 8 pixels above the reference's."""
    record = dataclasses.replace(
        make.refinement_record(0),
        target=np.full((96, 96, 3), 128, np.uint8),
        reference=np.full((96, 96, 3), 128, np.uint8),
        matches=make.matches(96, 96, (0.0, 8.0)),
    )
    target, reference, *_ = refinement_strip(record, PAL, rng(), 1, 6, 192).tiles
    colours = {tuple(c) for c in target.reshape(-1, 3) if np.ptp(c) > 120 and max(c) == 255}
    moved = 0
    for colour in colours:
        here, there = (np.argwhere((tile == colour).all(axis=2)) for tile in (target, reference))
        if len(here) > 15 and len(there) > 15:
            np.testing.assert_allclose(
                there.mean(axis=0) - here.mean(axis=0), [16.0, 0.0], atol=1.0
            )
            moved += 1
    assert moved == 6


def test_points_are_spread():
    nodes = np.argwhere(np.ones((20, 20), bool))
    chosen = _spread(nodes, 5)
    distances = np.linalg.norm(chosen[:, None] - chosen[None], axis=2)
    assert distances[np.triu_indices(5, 1)].min() > 8
    np.testing.assert_array_equal(_spread(nodes[:3], 5), nodes[:3])


def test_artifact_masks_lie_on_the_object_and_among_matches():
    mask = disc(200, 300, 80, 100, 60)
    valid = np.zeros((25, 38), bool)
    valid[:, :10] = True
    allowed = allowed_pixels(mask, valid, (200, 300))
    np.testing.assert_array_equal(allowed[:, 80:], False)
    for hole in draw_masks(PAL, rng(), 4, (200, 300), allowed):
        assert hole.any()
        assert not (hole & ~allowed).any()
    np.testing.assert_array_equal(allowed_pixels(mask, np.zeros_like(valid), (200, 300)), mask)
    assert allowed_pixels(None, None, (200, 300)) is None
    (large,) = draw_masks(PAL, rng(), 1, (600, 1200), None)
    assert large.shape == (256, 512)


def test_masks_beyond_the_colours_and_odd_pictures(make):
    image = make.picture(31, 97)
    record = AlignmentRecord(key="a", image=image, mask=np.zeros((31, 97), bool), metadata={})
    strip = alignment_strip(record, PAL, rng(), 7, 64)
    assert strip.facts.startswith("97x31   object 0%")
    assert [tile.shape for tile in strip.tiles] == [(64, 64, 3)] * 2
    pair = dataclasses.replace(make.refinement_record(0), matches=None)
    assert refinement_strip(pair, PAL, rng(), 2, 5, 64).facts == "no matches"
    empty = np.full_like(make.refinement_record(0).matches, np.nan)
    strip = refinement_strip(dataclasses.replace(pair, matches=empty), PAL, rng(), 2, 5, 64)
    assert strip.facts.startswith("0 matches")
    assert strip.facts.endswith("0% 0%")


def test_a_bad_record_is_a_line_with_its_reason(alignment_folder, tmp_path):
    folder = shutil.copytree(alignment_folder, tmp_path / "set")
    data = bytearray((folder / "alignment-000000.tar").read_bytes())
    data[100:200] = b"\xff" * 100
    (folder / "alignment-000000.tar").write_bytes(data)
    sheet = preview_sheet(ShardSet.open(folder), PreviewSettings(count=23, side=64))
    reds = (sheet == (190, 30, 45)).all(axis=2)
    assert reds.any(), "the reason is written in red"


@pytest.mark.parametrize(
    ("name", "value"),
    [("count", 0), ("masks", 0), ("points", 0), ("columns", 0), ("side", 32), ("side", 5000)],
)
def test_settings_out_of_their_range(name, value):
    with pytest.raises(InputError, match=f"{name}={value}"):
        PreviewSettings(**{name: value})


def test_a_sheet_too_large_for_memory_is_refused(make, tmp_path):
    folder = make.shards(tmp_path / "set", Mode.REFINEMENT, 60, 60)
    with pytest.raises(InputError, match="too large"):
        preview_sheet(
            ShardSet.open(folder), PreviewSettings(count=60, side=1024, columns=1, points=1)
        )
