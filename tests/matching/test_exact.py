import cv2
import numpy as np
import pytest

from rba.errors import InputError
from rba.matching.exact import exact_matches, node_positions, read_correspondence


def write_correspondence(path, fractions):
    """Write the picture as a renderer does: red = u, green = v, blue = valid."""
    valid = np.isfinite(fractions[..., 0])
    rounded = np.rint(np.nan_to_num(fractions) * 65535).astype(np.uint16)
    blue_first = np.stack([valid * np.uint16(65535), rounded[..., 1], rounded[..., 0]], axis=2)
    cv2.imwrite(str(path), blue_first)


def shifted(height, width, shift):
    """View B is view A moved by ``shift`` pixels, same size."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    fractions = np.stack([(x + shift[0]) / width, (y + shift[1]) / height], axis=2)
    fractions[(fractions < 0).any(axis=2) | (fractions >= 1).any(axis=2)] = np.nan
    return fractions


def test_a_shift_is_read_at_the_nodes(tmp_path):
    path = tmp_path / "00-01.correspondence.png"
    write_correspondence(path, shifted(60, 100, (10, -3)))
    correspondence = read_correspondence(path)
    assert correspondence.shape == (60, 100, 2)
    matches = exact_matches(correspondence, 60, 100)
    assert matches.shape == (8, 13, 3)
    assert matches.dtype == np.float16
    # Node (i, j) is the pixel (8j + 4, 8i + 4), whose centre is at + 0.5.
    for i in range(1, 7):
        for j in range(10):
            expected = ((8 * j + 4.5 + 10) / 100, (8 * i + 4.5 - 3) / 60, 1.0)
            np.testing.assert_allclose(matches[i, j].astype(float), expected, atol=5e-4)
    assert np.isnan(matches[:, 12]).all()  # pixel 100 lies outside the target
    assert np.isnan(matches[:, 11]).all()  # pixel 92 moves out of view B


@pytest.mark.parametrize("size", [(30, 50), (120, 200), (45, 75)])
def test_the_stored_target_may_have_another_size(size):
    correspondence = shifted(60, 100, (10, -3)).astype(np.float32)
    matches = exact_matches(correspondence, *size).astype(float)
    known = np.isfinite(matches[..., 0])
    assert known.mean() > 0.5
    x = np.broadcast_to(node_positions(size[1]) / size[1], known.shape)
    y = np.broadcast_to(node_positions(size[0])[:, None] / size[0], known.shape)
    # Within half a pixel of the full size.
    assert np.abs(matches[..., 0] - x - 0.10)[known].max() < 0.51 / 100 + 5e-4
    assert np.abs(matches[..., 1] - y + 0.05)[known].max() < 0.51 / 60 + 5e-4


def test_other_pictures_are_refused(tmp_path):
    path = tmp_path / "x.png"
    with pytest.raises(InputError, match="cannot be read"):
        read_correspondence(path)
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(InputError, match="not a 16-bit RGB"):
        read_correspondence(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a 16-bit RGB"):
        read_correspondence(path)
