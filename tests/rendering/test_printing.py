import collections
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.rendering import prints
from rba.rendering.dataset import RenderJob, cut_photos, render_objects
from rba.rendering.glyphs import HELDOUT_CORNERS, HELDOUT_LETTERS, glyphs_of
from rba.rendering.pair import PairSettings, render_pair
from rba.rendering.printing import print_design
from rba.rendering.style import PrintStyle

FLAT = np.full((200, 200, 3), (10, 120, 30), np.uint8)
# Each row and column of a noisy photograph differs from the others.
NOISE = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)


def cells(design: np.ndarray, columns: int, rows: int) -> list[bytes]:
    height, width = design.shape[:2]
    across, down = width // columns, height // rows
    corners = [
        (r * height // rows, c * width // columns) for r in range(rows) for c in range(columns)
    ]
    return [design[y : y + down, x : x + across].tobytes() for y, x in corners]


def test_splits_share_neither_letters_nor_corners() -> None:
    train, heldout, everything = (glyphs_of(split) for split in ("train", "heldout", "all"))
    assert set(heldout.letters) == HELDOUT_LETTERS
    assert set(heldout.corners) == HELDOUT_CORNERS
    assert not set(train.letters) & set(heldout.letters)
    assert not set(train.corners) & set(heldout.corners)
    assert set(train.letters) | set(heldout.letters) == set(everything.letters)
    assert set(train.corners) | set(heldout.corners) == set(everything.corners)
    assert 0.2 < len(heldout.letters) / len(everything.letters) < 0.3
    with pytest.raises(InputError, match="split=half"):
        glyphs_of("half")


@pytest.mark.parametrize("split", ["train", "heldout", "all"])
def test_only_the_letters_and_corners_of_a_split_are_drawn(
    split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters: set[str] = set()
    corners: set[int] = set()

    def note_text(_canvas: np.ndarray, text: str, *_rest: object) -> None:
        letters.update(text)

    def note_polygon(_canvas: np.ndarray, outlines: list[np.ndarray], *_rest: object) -> None:
        # Stars and polygons have a point between any two corners.
        corners.add(len(outlines[0]) // 2)

    monkeypatch.setattr(prints, "draw_text", note_text)
    monkeypatch.setattr(cv2, "fillPoly", note_polygon)
    style = PrintStyle(density=(5.0, 5.0), empty_share=0.0, look_alike_share=0.5)
    settings = PairSettings(style=style, supersampling=1)
    job = RenderJob(split=split, size=32, settings=settings, photo_print_share=1.0)
    list(render_objects(job, tmp_path, 6, 1))
    objects = set(letters), set(corners)
    letters.clear()
    corners.clear()
    list(cut_photos(job, tmp_path, 12))
    allowed = set(glyphs_of(split).letters), set(glyphs_of(split).corners)
    assert objects == allowed
    assert (letters, corners) == allowed


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("width", "height"), [(150, 150), (151, 152)])
def test_every_print_has_one_twin(seed: int, width: int, height: int) -> None:
    style = PrintStyle(density=(3.0, 3.0), empty_share=0.0)
    rng = np.random.default_rng(seed)
    design = print_design(FLAT, rng, width, height, style, look_alikes=True)
    counts = collections.Counter(cells(design, 3, 3))
    # Nine cells: four pairs and a single one.
    assert sorted(counts.values()) == [1, 2, 2, 2, 2]
    alone = print_design(FLAT, np.random.default_rng(seed), width, height, style)
    assert set(collections.Counter(cells(alone, 3, 3)).values()) == {1}


@pytest.mark.parametrize(("width", "height", "columns", "rows"), [(90, 90, 2, 1), (60, 75, 1, 2)])
def test_a_surface_of_one_cell_gets_two(width: int, height: int, columns: int, rows: int) -> None:
    style = PrintStyle(density=(0.5, 0.5), empty_share=0.0)
    design = print_design(FLAT, np.random.default_rng(1), width, height, style, look_alikes=True)
    one, two = cells(design, columns, rows)
    assert one == two
    assert len(set(one)) > 3


def test_twins_stand_on_different_grounds() -> None:
    style = PrintStyle(density=(2.0, 2.0), empty_share=0.0)
    rng = np.random.default_rng(0)
    assert len(set(cells(print_design(NOISE, rng, 80, 80, style, look_alikes=True), 2, 2))) == 4


def test_the_asked_share_of_objects_has_look_alikes() -> None:
    textures = {"a": FLAT, "b": NOISE}

    def share(asked: float, count: int) -> float:
        settings = PairSettings(style=PrintStyle(look_alike_share=asked), supersampling=1)
        pairs = (
            render_pair(textures, keyed_generator(0, "twins", "x", i), 16, settings)
            for i in range(count)
        )
        return float(np.mean([pair.look_alikes for pair in pairs]))

    assert share(0.0, 5) == 0.0
    assert share(1.0, 5) == 1.0
    # The standard error of 0.3 over 60 objects is 0.06.
    assert share(0.3, 60) == pytest.approx(0.3, abs=0.13)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_facts_tell_look_alikes(tmp_path: Path, share: float) -> None:
    settings = PairSettings(style=PrintStyle(look_alike_share=share), supersampling=1)
    list(render_objects(RenderJob(size=16, settings=settings), tmp_path, 1, 1))
    facts = json.loads((tmp_path / "object-000000" / "object.json").read_text())
    assert facts["look_alikes"] is (share == 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_mosaics_are_square_tiles_of_strong_colours(seed: int) -> None:
    style = PrintStyle(mosaic_share=1.0, empty_share=1.0)
    square, other, wide = (
        print_design(photo, np.random.default_rng(seed), width, 144, style).astype(int)
        for photo, width in ((FLAT, 144), (NOISE, 144), (FLAT, 576))
    )
    np.testing.assert_array_equal(square, other)
    columns, rows = (
        1 + np.any(np.diff(square, axis=axis), axis=(1 - axis, 2)).sum() for axis in (1, 0)
    )
    assert columns == rows
    assert 4 <= rows <= 9
    assert len(np.unique(square.reshape(-1, 3), axis=0)) > 4
    assert 1 + np.any(np.diff(wide, axis=1), axis=(0, 2)).sum() == 2 * columns


def test_the_asked_share_of_grounds_is_a_mosaic() -> None:
    style = PrintStyle(mosaic_share=0.4, empty_share=1.0)
    flat = [
        (print_design(FLAT, np.random.default_rng(seed), 20, 20, style) == FLAT[0, 0]).all()
        for seed in range(100)
    ]
    # The standard error is 0.05.
    assert np.mean(flat) == pytest.approx(0.6, abs=0.12)


def test_density_and_empty_share_say_how_much_is_printed() -> None:
    def printed(style: PrintStyle) -> float:
        designs = (print_design(FLAT, np.random.default_rng(s), 120, 120, style) for s in range(5))
        return float(np.mean([np.any(d != FLAT[0, 0], axis=-1).mean() for d in designs]))

    assert printed(PrintStyle(empty_share=1.0)) == 0.0
    assert printed(PrintStyle(empty_share=0.0)) > 1.5 * printed(PrintStyle(empty_share=0.6))
    dense = print_design(
        FLAT, np.random.default_rng(0), 160, 160, PrintStyle(density=(8.0, 8.0), empty_share=0.0)
    )
    plain = (dense == FLAT[0, 0]).all(axis=-1)
    assert all((~plain[y : y + 20, x : x + 20]).any() for y in range(0, 160, 20) for x in (0, 140))


@pytest.mark.parametrize(
    "values",
    [
        {"density": (0.0, 2.0)},
        {"density": (3.0, 2.0)},
        {"density": (3.0, 17.0)},
        {"density": (float("nan"), 3.0)},
        {"empty_share": -0.1},
        {"mosaic_share": 1.5},
        {"look_alike_share": float("nan")},
    ],
)
def test_styles_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        PrintStyle(**values)  # type: ignore[arg-type]
