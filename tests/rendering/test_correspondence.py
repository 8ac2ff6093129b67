import dataclasses

import cv2
import numpy as np
import pytest

from rba.draws import keyed_generator
from rba.geometry import project
from rba.rendering.camera import fit_camera, turn
from rba.rendering.correspondence import correspondence
from rba.rendering.pair import PairSettings, RenderedPair, render_pair
from rba.rendering.raster import rasterise
from rba.rendering.shapes import SHAPES, make_card, make_mesh
from rba.rendering.view import draw_light, paint

SIZE = 128
PLAIN = PairSettings(light=0.0)


def smooth_texture(seed: int) -> np.ndarray:
    """A texture without high frequencies, so that warping it twice loses little."""
    small = np.random.default_rng(seed).integers(0, 255, (9, 9, 3)).astype(np.uint8)
    return cv2.resize(small, (256, 256), interpolation=cv2.INTER_CUBIC)


def pair_of(kind: str, index: int = 0, settings: PairSettings = PLAIN) -> RenderedPair:
    textures = {"a": smooth_texture(1), "b": smooth_texture(2)}
    settings = dataclasses.replace(settings, shapes=(kind,))
    return render_pair(textures, keyed_generator(5, "test", kind, index), SIZE, settings)


def warp(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    places = np.nan_to_num(map_, nan=0.0) - 0.5
    return cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_LINEAR)


@pytest.mark.parametrize("kind", sorted(SHAPES))
@pytest.mark.parametrize("index", [0, 1])
def test_second_view_warped_back_is_the_first(kind: str, index: int) -> None:
    pair = pair_of(kind, index)
    for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
        matched = np.isfinite(one.correspondence[..., 0])
        assert matched.sum() > 0.3 * one.mask.sum()
        # Edges of the object and of its faces blend with what lies beside them.
        inner = cv2.erode(matched.astype(np.uint8), np.ones((5, 5))).astype(bool)
        error = np.abs(warp(other.image, one.correspondence).astype(int) - one.image)[inner]
        # Prints have hard edges, so what is left is resampling; two pixels off is far worse.
        shifted = np.abs(warp(other.image, one.correspondence + 2).astype(int) - one.image)[inner]
        assert error.mean() < 0.65 * shifted.mean()


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_smooth_texture_seen_twice_is_equal_through_the_map(kind: str) -> None:
    mesh = make_mesh(kind, np.random.default_rng(4))
    textures = {number: smooth_texture(number) for number in range(len(mesh.aspects))}
    light = draw_light(np.random.default_rng(0), 0.0)
    # An edge of the prism towards the viewer, or one view sees a wall nearly edge on.
    yaw = 0 if kind == "prism" else 25
    base = turn(np.array([1.0, 0.0, 0.0]), 20) @ turn(np.array([0.0, 1.0, 0.0]), yaw)
    cameras = [
        fit_camera(mesh.vertices, turn(np.array([0.1, 1.0, 0.2]), a) @ base, 4.0, 256, fill=fill)
        for a, fill in ((-14, 0.95), (14, 0.85))
    ]
    rasters = [rasterise(mesh, camera) for camera in cameras]
    images = [
        paint(raster, textures, light, camera.rotation)
        for raster, camera in zip(rasters, cameras, strict=True)
    ]
    map_ = correspondence(rasters[0], rasters[1], cameras[1])
    matched = np.isfinite(map_[..., 0])
    assert matched.sum() > 0.5 * rasters[0].mask.sum()
    # Leave out where the four samples around a position belong to more than one surface.
    same = np.ones((256, 256), bool)
    for number in (-1, *textures):
        grown = cv2.dilate((rasters[1].surface == number).astype(np.uint8), np.ones((3, 3)))
        same &= (rasters[1].surface == number) | (grown == 0)
    inner = matched.copy()
    x, y = map_[matched].astype(int).T
    inner[matched] = same[y, x]
    error = np.abs(warp(images[1], map_) - images[0])[inner]
    assert error.mean() < 0.8
    # What is left are strongly foreshortened places, where one pixel spans much texture.
    assert np.quantile(error, 0.98) < 4.0


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_there_and_back_again(kind: str) -> None:
    pair = pair_of(kind)
    there, back = pair.first.correspondence, pair.second.correspondence
    rows, columns = np.nonzero(np.isfinite(there[..., 0]))
    u, v = there[rows, columns].T
    # The nearest pixel of the second view is at most 0.71 px off; the scale between views adds.
    returned = back[v.astype(int), u.astype(int)]
    known = np.isfinite(returned[:, 0])
    assert known.mean() > 0.97
    starts = np.stack([columns, rows], 1)[known] + 0.5
    distance = np.linalg.norm(returned[known] - starts, axis=1)
    assert np.median(distance) < 1.0
    assert np.quantile(distance, 0.95) < 1.6


def test_card_follows_its_homography() -> None:
    mesh = make_card(1.2)
    cameras = [
        fit_camera(mesh.vertices, turn(np.array([0.2, 1.0, 0.1]), angle), 4.0, SIZE, fill=0.9)
        for angle in (-18, 16)
    ]
    first, second = (rasterise(mesh, camera) for camera in cameras)
    map_ = correspondence(first, second, cameras[1])
    corners = [camera.project(mesh.vertices)[0].astype(np.float32) for camera in cameras]
    homography = cv2.getPerspectiveTransform(corners[0], corners[1])
    rows, columns = np.nonzero(np.isfinite(map_[..., 0]))
    assert rows.size > 0.97 * first.mask.sum()
    expected = project(np.stack([columns, rows], 1) + 0.5, homography)
    np.testing.assert_allclose(map_[rows, columns], expected, atol=2e-3)


def test_same_view_maps_every_pixel_to_itself() -> None:
    mesh = make_mesh("sheet", np.random.default_rng(0))
    camera = fit_camera(mesh.vertices, turn(np.array([1.0, 0, 0]), 20), 4.0, 64, fill=0.9)
    raster = rasterise(mesh, camera)
    map_ = correspondence(raster, raster, camera)
    y, x = np.nonzero(raster.mask)
    np.testing.assert_allclose(map_[y, x], np.stack([x, y], 1) + 0.5, atol=1e-3)
    assert np.isnan(map_[~raster.mask]).all()


def test_faces_that_the_other_view_does_not_see_have_no_match() -> None:
    mesh = make_mesh("box", np.random.default_rng(0))
    axis = np.array([0.0, 1.0, 0.0])
    cameras = [fit_camera(mesh.vertices, turn(axis, a), 4.0, SIZE, fill=0.9) for a in (-40, 40)]
    first, second = (rasterise(mesh, camera) for camera in cameras)
    map_ = correspondence(first, second, cameras[1])
    shared = set(np.unique(first.surface)) & set(np.unique(second.surface)) - {-1}
    hidden = set(np.unique(first.surface)) - set(np.unique(second.surface))
    assert shared == {0}
    assert len(hidden) == 1
    assert np.isnan(map_[first.surface == hidden.pop()]).all()
    assert np.isfinite(map_[first.surface == 0]).mean() > 0.95


def test_back_of_a_cylinder_has_no_match() -> None:
    mesh = make_mesh("cylinder", np.random.default_rng(0))
    axis = np.array([0.0, 1.0, 0.0])
    cameras = [fit_camera(mesh.vertices, turn(axis, a), 5.0, SIZE, fill=0.9) for a in (0, 90)]
    first, second = (rasterise(mesh, camera) for camera in cameras)
    map_ = correspondence(first, second, cameras[1])
    x, _, z = (first.position[..., axis] for axis in range(3))
    to_camera = cameras[1].rotation[2]
    # Side points whose normal (x, 0, z) points clearly away from the second camera.
    away = first.mask & (x * to_camera[0] + z * to_camera[2] > 0.1)
    assert away.sum() > 200
    assert np.isnan(map_[away]).all()


def test_one_surface_hidden_by_another_part_of_itself_has_no_match() -> None:
    mesh = make_mesh("sheet", np.random.default_rng(1))
    # A sheet rolled into a deep valley: from the side its near wall hides its far wall.
    folded = mesh.vertices.copy()
    folded[:, 2] = 1.6 * np.abs(folded[:, 0])
    folded /= np.linalg.norm(folded, axis=1).max()
    mesh = dataclasses.replace(mesh, vertices=folded)
    front = fit_camera(folded, np.eye(3), 4.0, SIZE, fill=0.9)
    side = fit_camera(folded, turn(np.array([0.0, 1.0, 0.0]), 75), 4.0, SIZE, fill=0.9)
    first, second = rasterise(mesh, front), rasterise(mesh, side)
    map_ = correspondence(first, second, side)
    matched = np.isfinite(map_[..., 0])
    points, depth = side.project(first.position[matched].astype(np.float64))
    x, y = points.astype(int).T
    nearest = second.depth[y, x]
    # A matched point is never clearly behind what the other view shows in that pixel.
    assert (depth - nearest < 0.1).all()
    all_points, all_depth = side.project(first.position[first.mask].astype(np.float64))
    x, y = all_points.astype(int).clip(0, SIZE - 1).T
    behind = all_depth - second.depth[y, x] > 0.15
    assert behind.sum() > 100
    assert np.isnan(map_[first.mask][behind]).all()
