import os

import numpy as np
import pytest
from PIL import Image

from rba.data.build import DroppedError
from rba.data.objects import PairLoader, PairSettings, View, ViewPair
from rba.errors import InputError


def no_exact(path, height, width):
    raise InputError(f"{path} is none")


class GridMatcher:
    """Claims a share of the nodes, from the left."""

    def __init__(self, share=1.0, fault=None):
        self.share, self.fault = share, fault

    def __call__(self, target, target_mask, reference, reference_mask):
        self.masks = target_mask, reference_mask
        rows, columns = (-(-side // 8) for side in target.shape[:2])
        grid = np.full((rows, columns, 3), 0.5, np.float16)
        grid[:, round(columns * self.share) :] = np.nan
        return grid, self.fault


@pytest.fixture
def root(write, tmp_path):
    write.write_views(tmp_path / "cup", ["0.png", "1.png"])
    return tmp_path


PAIR = ViewPair("cup", View("cup/0.png"), View("cup/1.png"), None, {"view_distance": 1})


def load(root, pair=PAIR, matcher=None, **settings):
    settings = PairSettings(**{"min_matches": 4, **settings})
    matcher = matcher or GridMatcher()
    return PairLoader(str(root), settings, no_exact, matcher, "made")(pair, "key")


def reason(*arguments, **settings):
    with pytest.raises(DroppedError) as dropped:
        load(*arguments, **settings)
    return str(dropped.value)


def test_a_pair_becomes_a_record(root, write):
    record = load(root)
    assert record.key == "key"
    np.testing.assert_array_equal(record.target, write.picture(0))
    np.testing.assert_array_equal(record.reference, write.picture(1))
    assert record.target_mask is None
    assert record.matches.shape == (6, 8, 3)
    assert record.metadata == {
        "object": "cup", "views": ["0.png", "1.png"], "matcher": "made", "matches": 48,
        "mask_source": ["none", "none"], "view_distance": 1,
    }  # fmt: skip


def test_masks_come_from_files_alpha_and_grabcut(root, write):
    write.save_mask(root / "cup" / "0.mask.png")
    alpha = np.full((48, 64, 1), 255, np.uint8)
    alpha[:, :32] = 0
    write.save(root / "cup" / "1.png", np.concatenate([write.picture(1), alpha], axis=2))
    matcher = GridMatcher()
    record = load(root, matcher=matcher)
    assert record.metadata["mask_source"] == ["file", "alpha"]
    assert record.metadata["overlap"] == 1.0
    np.testing.assert_array_equal(record.reference_mask, alpha[..., 0] > 0)
    assert matcher.masks[0] is record.target_mask
    assert load(root, masks="none").metadata["mask_source"] == ["none", "none"]
    write.save(root / "cup" / "1.png", write.picture(1))
    assert load(root).metadata["mask_source"] == ["file", "none"]
    grey = np.full((48, 64, 3), 60, np.uint8)
    grey[15:35, 20:45] = (200, 40, 30)
    write.save(root / "cup" / "1.png", grey)
    record = load(root, masks="grabcut")
    assert record.metadata["mask_source"] == ["file", "grabcut"]
    assert record.reference_mask[15:35, 20:45].mean() > 0.9


def test_overlap_counts_nodes_on_the_object(root, write):
    write.save_mask(root / "cup" / "0.mask.png")  # columns 16 to 47: nodes 2 to 5
    record = load(root, matcher=GridMatcher(0.5))
    assert record.metadata["overlap"] == 0.5
    assert reason(root, matcher=GridMatcher(0.5), min_overlap=0.6) == "too little overlap"
    assert reason(root, matcher=GridMatcher(0.0)) == "too few matches"
    assert reason(root, matcher=GridMatcher(fault="contradiction")) == "contradiction"


def test_masks_of_another_size(root, write):
    write.save_mask(root / "small.png", 24, 32)
    write.save_mask(root / "wide.png", 24, 64)

    def masked(name, scaled):
        return ViewPair("cup", View("cup/0.png", name, scaled), PAIR.reference)

    assert load(root, masked("small.png", True)).target_mask.sum() == 24 * 32
    assert reason(root, masked("small.png", False)) == "mask of another size"
    assert reason(root, masked("wide.png", True)) == "mask of another size"
    assert reason(root, masked("gone.png", True)) == "mask: missing"
    (root / "text.png").write_text("no picture")
    assert reason(root, masked("text.png", True)) == "unreadable mask"
    write.save(root / "black.png", np.zeros((48, 64), np.uint8))
    assert reason(root, masked("black.png", True)) == "empty object mask"


def test_views_are_turned_bounded_and_masked_upright(root, write):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(write.picture(0)).save(root / "cup" / "0.jpg", exif=exif)
    write.save_mask(root / "cup" / "0.mask.png", 64, 48)
    pair = ViewPair("cup", View("cup/0.jpg"), PAIR.reference)
    record = load(root, pair, longest_side=32)
    assert record.target.shape == (32, 24, 3)
    assert record.target_mask.shape == (32, 24)
    assert record.matches.shape == (4, 3, 3)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b"no picture", "unreadable"),
        (b"\xff\xd8\xff\xe0" + bytes(200), "unreadable"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(50), "no decoder for HEIC"),
    ],
)
def test_views_that_cannot_be_read(root, content, words):
    (root / "cup" / "1.png").write_bytes(content)
    assert reason(root) == words


def test_files_that_are_no_files(root):
    view = root / "cup" / "1.png"
    view.unlink()
    assert reason(root) == "missing"
    view.symlink_to("1.png")
    assert reason(root) == "link loop"
    view.unlink()
    view.symlink_to("gone")
    assert reason(root) == "broken link"
    view.unlink()
    os.mkfifo(view)
    assert reason(root) == "not a file"


def test_a_truncated_jpeg_and_a_bomb(root, write, tmp_path):
    path = root / "cup" / "1.png"
    Image.fromarray(write.picture(1, 200, 200)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-200])
    assert reason(root) == "damaged JPEG"
    Image.new("1", (30_000, 30_000)).save(path)
    assert reason(root) == "too many pixels"


def test_a_copy_is_no_second_view(root):
    (root / "cup" / "1.png").write_bytes((root / "cup" / "0.png").read_bytes())
    assert reason(root) == "two views of one picture"


def test_exact_matches_where_they_are_wanted(root):
    settings = PairSettings(matcher="exact", min_matches=1)
    with pytest.raises(DroppedError, match="no exact correspondence"):
        PairLoader(str(root), settings, no_exact, None)(PAIR, "key")
    pair = ViewPair("cup", PAIR.target, PAIR.reference, "cup/0-1.correspondence.png")
    with pytest.raises(DroppedError, match="unreadable correspondence"):
        PairLoader(str(root), settings, no_exact, None)(pair, "key")

    def read(path, height, width):
        assert path == str(root / "cup" / "0-1.correspondence.png")
        return np.full((height // 8, width // 8, 3), 0.25, np.float16)

    auto = PairSettings(min_matches=1)
    loader = PairLoader(str(root), auto, read, GridMatcher(), "made")
    assert loader(pair, "key").metadata["matcher"] == "exact"
    assert loader(PAIR, "key").metadata["matcher"] == "made"
    forced = PairLoader(str(root), PairSettings(matcher="sift"), read, GridMatcher(), "sift")
    assert forced(pair, "key").metadata["matcher"] == "sift"


@pytest.mark.parametrize("settings", [{"masks": "magic"}, {"min_overlap": 1.5}])
def test_settings_that_are_none(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        PairSettings(**settings)
