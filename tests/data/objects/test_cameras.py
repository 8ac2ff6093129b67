import numpy as np
import pytest

from rba.data.objects.cameras import Camera, pytorch3d_camera, read_colmap, view_directions


def between(first, second):
    return np.degrees(np.arccos(np.clip(np.dot(first, second), -1, 1)))


def test_colmap_and_pytorch3d_say_the_same(write):
    angles = {"a.jpg": 0.0, "b.jpg": 33.0, "deep/c ä.jpg": 120.0}
    colmap = read_colmap(write.colmap_images(angles))
    assert list(colmap) == list(angles)
    for name, degrees in angles.items():
        other = pytorch3d_camera(*write.pytorch3d(degrees))
        np.testing.assert_allclose(colmap[name].centre, other.centre, atol=1e-9)
        np.testing.assert_allclose(colmap[name].axis, other.axis, atol=1e-9)
        np.testing.assert_allclose(other.axis, -other.centre / 3.0, atol=1e-9)


def test_directions_point_from_what_the_cameras_look_at(write):
    cameras = {str(d): pytorch3d_camera(*write.pytorch3d(d)) for d in (0, 25, 70)}
    moved = {k: Camera(c.centre + np.array([5, 1, -2]), c.axis) for k, c in cameras.items()}
    a, b, unknown, c = view_directions(moved, ["0", "25", "none", "70"])
    assert unknown is None
    assert between(a, b) == pytest.approx(25)
    assert between(a, c) == pytest.approx(70)
    np.testing.assert_allclose(a, (0, 0, -1), atol=1e-9)


def test_cameras_that_share_no_point_are_told_by_their_axes():
    ahead = np.array([0.0, 0.0, 1.0])
    parallel = {str(n): Camera(np.array([n, 0.0, 0.0]), ahead) for n in range(3)}
    assert view_directions(parallel, ["0", "2"]) == [[0, 0, -1], [0, 0, -1]]
    aside = np.array([np.sin(0.5), 0.0, np.cos(0.5)])  # they look away from each other
    apart = {
        "0": Camera(np.array([-1.0, 0, 0]), aside * (-1, 1, 1)),
        "1": Camera(np.eye(3)[0], aside),
    }
    a, b = view_directions(apart, ["0", "1"])
    assert between(a, b) == pytest.approx(np.degrees(1.0))
    assert view_directions({}, ["0"]) == [None]


@pytest.mark.parametrize(
    ("rotation", "translation"),
    [
        ([[1, 0], [0, 1]], [0, 0, 0]),
        (np.eye(3), [0, 0]),
        (np.zeros((3, 3)), [0, 0, 0]),
        (np.eye(3) * np.nan, [0, 0, 0]),
    ],
)
def test_matrices_that_are_no_camera(rotation, translation):
    with pytest.raises(ValueError, match=r"R is|a camera at"):
        pytorch3d_camera(rotation, translation)
