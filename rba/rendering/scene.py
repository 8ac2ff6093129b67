"""Render an object as a generator shows it, and as its reference does: two looks of one object."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.rendering.backdrop import draw_backdrop
from rba.rendering.camera import turn
from rba.rendering.correspondence import correspondence
from rba.rendering.drape import DRAPES, Drape, make_drape, on_other_shape
from rba.rendering.glyphs import Glyphs
from rba.rendering.mesh import Mesh
from rba.rendering.pair import RenderedPair, View
from rba.rendering.poses import PoseRanges, Poses, draw_camera, draw_poses
from rba.rendering.printing import print_surfaces
from rba.rendering.raster import Raster, rasterise
from rba.rendering.scene_settings import Look, SceneSettings
from rba.rendering.shapes import make_mesh
from rba.rendering.view import Light, compose, draw_light, paint

_ATTEMPTS = 6
_ON_TABLE = (0.75, 0.95)  # where in the free room what stands on a table is
_BEHIND = (0.45, 0.75)
_OTHER_FILL = (0.25, 0.4)


def render_scene(
    textures: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    size: int,
    settings: SceneSettings,
    glyphs: Glyphs | None = None,
) -> RenderedPair:
    """Render an image and a reference: a pure function of the arguments and the generator's state.

    Args:
        textures: Name to hxwx3 uint8 photographs, at least one (three give other backdrops).
        rng: From `rba.draws.keyed_generator`.
        size: Side of both pictures in pixels, at least 16.
        settings: What to draw from.
        glyphs: What is printed; all by default.

    Returns:
        The image is the first view, the reference the second one.

    Raises:
        InputError: If there is no texture or the size is below 16.
    """
    if not textures or size < 16:
        raise InputError(f"{len(textures)} textures at {size} pixels: give at least 1 and 16")
    seeds = [int(seed) for seed in rng.integers(0, 2**62, 5)]
    shape_rng, pose_rng, print_rng, *look_rngs = (
        keyed_generator(seed, "render", "scene", 0) for seed in seeds
    )
    kind, meshes, poses = _draw(shape_rng, pose_rng, size, settings)
    names = [sorted(textures)[int(i)] for i in print_rng.permutation(len(textures))]
    cut = 2 if len(names) > 3 else 1
    photos = [textures[name] for name in names[:cut]]
    backs = [textures[name] for name in names[cut:] or names]
    look_alikes = bool(print_rng.random() < settings.style.look_alike_share)
    fine = [camera.enlarged(settings.supersampling) for camera in poses.cameras]
    large = [rasterise(mesh, camera) for mesh, camera in zip(meshes, fine, strict=True)]

    def printed(seed: int) -> dict[int, np.ndarray]:
        return print_surfaces(
            meshes[1], large, photos, seed, size, settings.style, glyphs, look_alikes=look_alikes
        )

    prints = _image_and_reference(printed, seeds[2], settings.texture_difference)
    views: list[View] = []
    for index, look in enumerate((settings.image, settings.reference)):
        light = _draw_light(look_rngs[index], look)
        backdrop = draw_backdrop(look.backdrop, backs, look_rngs[index], size)
        backdrop = _with_others(backdrop, light, look, look_rngs[index], photos, settings, glyphs)
        camera, samples = poses.cameras[index], large[index]
        painted = paint(samples, prints[index], light, camera.rotation)
        image = compose(painted, samples.mask, backdrop, settings.supersampling)
        mask, map_ = poses.rasters[index].mask, poses.maps[index]
        views.append(View(image=image, mask=mask, correspondence=map_, camera=camera))
    return RenderedPair(
        first=views[0],
        second=views[1],
        shape=kind,
        textures=tuple(sorted(names[:cut])),
        look_alikes=look_alikes,
    )


def _draw(
    shape_rng: np.random.Generator,
    pose_rng: np.random.Generator,
    size: int,
    settings: SceneSettings,
) -> tuple[str, tuple[Mesh, Mesh], Poses]:
    """Draw the object's kind, its mesh in either view, and the poses."""
    kind = settings.shapes[int(shape_rng.integers(len(settings.shapes)))]
    looks = (settings.image, settings.reference)
    heights = [_ON_TABLE if look.backdrop == "table" else (0.2, 0.8) for look in looks]
    ranges = PoseRanges(
        rotation_degrees=settings.rotation_degrees,
        roll_degrees=settings.roll_degrees,
        fills=(looks[0].fill, looks[1].fill),
        heights=(heights[0], heights[1]),
        smallest_overlap=settings.smallest_overlap,
    )
    if kind in DRAPES:
        drape = make_drape(kind, shape_rng)
        return kind, (drape.worn, drape.flat), _draw_drape(drape, pose_rng, size, ranges)
    mesh = make_mesh(kind, shape_rng)
    return kind, (mesh, mesh), draw_poses(mesh, pose_rng, size, ranges)


def _draw_drape(drape: Drape, rng: np.random.Generator, size: int, ranges: PoseRanges) -> Poses:
    """Draw two poses of a piece of cloth; the flat one is seen from the front."""
    best: Poses | None = None
    for _ in range(_ATTEMPTS):
        angle = rng.uniform(*ranges.rotation_degrees) * rng.choice([-1.0, 1.0])
        worn = turn(np.array([rng.normal(0, 0.3), 1.0, 0.0]), angle)
        flat = turn(np.array([1.0, rng.normal(0, 0.5), 0.0]), rng.uniform(-8, 8))
        meshes = (drape.worn, drape.flat)
        cameras = [
            draw_camera(mesh, rotation, rng, size, ranges, view)
            for view, (mesh, rotation) in enumerate(zip(meshes, (worn, flat), strict=True))
        ]
        rasters = [rasterise(*pair) for pair in zip(meshes, cameras, strict=True)]
        maps = [
            correspondence(on_other_shape(rasters[view], meshes[1 - view]), *other)
            for view, other in ((0, (rasters[1], cameras[1])), (1, (rasters[0], cameras[0])))
        ]
        poses = Poses(cameras=cameras, rasters=rasters, maps=maps)
        if best is None or poses.overlap > best.overlap:
            best = poses
        if poses.overlap >= ranges.smallest_overlap:
            break
    assert best is not None
    return best


def _draw_light(rng: np.random.Generator, look: Look) -> Light:
    light = draw_light(rng, look.light)
    tint = 1.0 + look.tint * rng.uniform(-1.0, 1.0, 3)
    return dataclasses.replace(light, colour=light.colour * tint)


def _image_and_reference(
    printed: Callable[[int], dict[int, np.ndarray]], seed: int, difference: float
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Print the surfaces for both views; the image's hold a share of another print."""
    reference = printed(seed)
    if difference == 0:
        return reference, reference
    other = printed(seed + 1)
    image = {
        number: cv2.addWeighted(texture, 1.0 - difference, other[number], difference, 0.0)
        for number, texture in reference.items()
    }
    return image, reference


def _with_others(
    backdrop: np.ndarray,
    light: Light,
    look: Look,
    rng: np.random.Generator,
    photos: Sequence[np.ndarray],
    settings: SceneSettings,
    glyphs: Glyphs | None,
) -> np.ndarray:
    """Stand other objects on a backdrop, size x size x 3 float32."""
    size = len(backdrop)
    ranges = PoseRanges(
        rotation_degrees=(0.0, 0.0),
        roll_degrees=0.0 if look.backdrop == "table" else settings.roll_degrees,
        fills=(_OTHER_FILL, _OTHER_FILL),
        heights=(_BEHIND, _BEHIND),
        smallest_overlap=0.0,
    )
    for _ in range(int(rng.integers(look.others[0], look.others[1] + 1))):
        mesh = make_mesh(settings.shapes[int(rng.integers(len(settings.shapes)))], rng)
        camera = draw_poses(mesh, rng, size, ranges).cameras[0]
        seen: Raster = rasterise(mesh, camera.enlarged(settings.supersampling))
        seed = int(rng.integers(2**62))
        surfaces = print_surfaces(mesh, [seen], photos, seed, size, settings.style, glyphs)
        painted = paint(seen, surfaces, light, camera.rotation)
        backdrop = compose(painted, seen.mask, backdrop, settings.supersampling).astype(np.float32)
    return backdrop
