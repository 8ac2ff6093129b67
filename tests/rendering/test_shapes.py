import numpy as np
import pytest

from rba.rendering.camera import Camera, fit_camera, turn
from rba.rendering.raster import rasterise
from rba.rendering.shapes import SHAPES, make_card, make_mesh


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_meshes_are_sound(kind: str) -> None:
    for seed in range(5):
        mesh = make_mesh(kind, np.random.default_rng(seed))
        assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(1.0)
        np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-6)
        assert mesh.uvs.min() >= 0
        assert mesh.uvs.max() <= 1
        assert set(mesh.surfaces) == set(range(len(mesh.aspects)))
        assert mesh.triangles.max() == len(mesh.vertices) - 1


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("kind", ["box", "cylinder", "prism", "frustum", "dome"])
def test_closed_meshes_enclose_a_volume_with_outward_normals(kind: str, seed: int) -> None:
    mesh = make_mesh(kind, np.random.default_rng(seed))
    a, b, c = (mesh.vertices[mesh.triangles[:, k]] for k in range(3))
    # Seen from outside triangles turn clockwise (y down), so cross(ac, ab) points outwards.
    outward = np.cross(c - a, b - a)
    # Divergence theorem on a closed surface: the flux of x/3 is the volume, the flux of 1 is 0.
    assert (outward * (a + b + c) / 3).sum() / 6 > 0.1
    np.testing.assert_allclose(outward.sum(axis=0), 0.0, atol=1e-9)
    mean_normal = mesh.normals[mesh.triangles].mean(axis=1)
    assert ((outward * mean_normal).sum(axis=1) > 0).all()


def test_unknown_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="torus"):
        make_mesh("torus", np.random.default_rng(0))


@pytest.mark.parametrize("fill", [0.3, 1.0])
def test_fitted_camera_fills_the_frame(fill: float) -> None:
    mesh = make_mesh("box", np.random.default_rng(2))
    rotation = turn(np.array([0.3, 1.0, 0.1]), 33.0)
    camera = fit_camera(mesh.vertices, rotation, 4.0, 200, fill=fill, shift=(0.0, 1.0))
    points, depth = camera.project(mesh.vertices)
    extent = points.max(axis=0) - points.min(axis=0)
    assert extent.max() == pytest.approx(fill * 200)
    assert points.min(axis=0)[0] == pytest.approx(0.0, abs=1e-9)
    assert points.max(axis=0)[1] == pytest.approx(200.0)
    assert depth.min() > 0


def test_enlarged_camera_scales_positions() -> None:
    mesh = make_card(1.3)
    camera = fit_camera(mesh.vertices, turn(np.array([0.0, 1.0, 0.0]), 20), 5.0, 64, fill=0.9)
    points, depth = camera.project(mesh.vertices)
    large, same_depth = camera.enlarged(3).project(mesh.vertices)
    np.testing.assert_allclose(large, 3 * points)
    np.testing.assert_allclose(same_depth, depth)


def front_view(size: int) -> Camera:
    return Camera(
        rotation=np.eye(3),
        distance=4.0,
        focal=size * 2.0,
        centre=(size / 2, size / 2),
        width=size,
        height=size,
    )


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_raster_points_project_onto_their_own_pixels(kind: str) -> None:
    mesh = make_mesh(kind, np.random.default_rng(3))
    rotation = turn(np.array([0.5, 1.0, 0.2]), 35.0)
    camera = fit_camera(mesh.vertices, rotation, 4.0, 96, fill=0.9)
    raster = rasterise(mesh, camera)
    rows, columns = np.nonzero(raster.mask)
    assert rows.size > 1000
    points, depth = camera.project(raster.position[rows, columns].astype(np.float64))
    np.testing.assert_allclose(points, np.stack([columns, rows], 1) + 0.5, atol=1e-3)
    np.testing.assert_allclose(depth, raster.depth[rows, columns], atol=1e-5)
    assert np.isinf(raster.depth[~raster.mask]).all()


def test_frontal_card_is_a_rectangle_with_linear_uv() -> None:
    raster = rasterise(make_card(1.0), front_view(100))
    # Corners at (+-1, +-1) / sqrt(2), focal 200, distance 4: half a side of 25 * sqrt(2) pixels.
    half = 200 / 4 / np.sqrt(2)
    rows, columns = np.nonzero(raster.mask)
    assert raster.mask.sum() == pytest.approx((2 * half) ** 2, rel=0.03)
    expected = (np.stack([columns, rows], 1) + 0.5 - 50) / (2 * half) + 0.5
    np.testing.assert_allclose(raster.uv[rows, columns], expected, atol=1e-5)
    assert raster.facing[rows, columns].all()
    np.testing.assert_allclose(raster.normal[rows, columns], [[0, 0, -1]] * rows.size, atol=1e-6)


def test_card_from_behind_shows_its_inner_side() -> None:
    camera = fit_camera(
        make_card(1.0).vertices, turn(np.array([0, 1.0, 0]), 180), 4.0, 50, fill=0.8
    )
    raster = rasterise(make_card(1.0), camera)
    assert raster.mask.any()
    assert not raster.facing.any()


def test_nearest_surface_wins() -> None:
    mesh = make_mesh("box", np.random.default_rng(0))
    raster = rasterise(mesh, front_view(80))
    # From the front only surface 0 is seen: the back lies behind it, the sides are edge on.
    assert set(np.unique(raster.surface)) == {-1, 0}
    assert raster.depth[raster.mask].max() < 4.0
