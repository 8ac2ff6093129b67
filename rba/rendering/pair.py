"""Render two views of one random object, with object masks and the exact correspondence."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.rendering.camera import Camera
from rba.rendering.glyphs import Glyphs
from rba.rendering.poses import PoseRanges, draw_poses
from rba.rendering.printing import print_surfaces
from rba.rendering.raster import rasterise
from rba.rendering.shapes import SHAPES, make_mesh
from rba.rendering.style import PrintStyle
from rba.rendering.view import compose, draw_background, draw_light, paint


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Ranges that pairs are drawn from.

    Attributes:
        shapes: Kinds of objects, each as likely as the others.
        rotation_degrees: How far the object turns between the views.
        roll_degrees: Largest turn of each view about the viewing axis.
        fill: Longest side of the object's box over the image's side, in (0, 1], drawn for each
            view, so the views differ in scale.
        light: How much light and colour differ between views, in [0, 1]; 0 = textures as they are.
        supersampling: Samples along each axis of a pixel for smooth edges; 1 = none.
        smallest_overlap: Poses are drawn again until this share of each view's object pixels is
            seen in the other, or attempts run out (the best is kept).
        style: How surfaces are printed.

    Raises:
        InputError: If a range is none.
    """

    shapes: tuple[str, ...] = ("box", "cylinder", "card", "sheet")
    rotation_degrees: tuple[float, float] = (15.0, 40.0)
    roll_degrees: float = 14.0
    fill: tuple[float, float] = (0.8, 0.98)
    light: float = 0.6
    supersampling: int = 2
    smallest_overlap: float = 0.4
    style: PrintStyle = dataclasses.field(default_factory=PrintStyle)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.shapes) - set(SHAPES))
        if unknown or not self.shapes:
            raise InputError(f"shapes {self.shapes}: give one or more of {sorted(SHAPES)}")
        ranges = {"rotation_degrees": (self.rotation_degrees, 90.0), "fill": (self.fill, 1.0)}
        for name, ((low, high), largest) in ranges.items():
            if not 0 <= low <= high <= largest or high == 0:
                raise InputError(f"{name} {(low, high)}: give a range within [0, {largest:g}]")
        if self.fill[0] <= 0:
            raise InputError(f"fill {self.fill}: give a range above 0")
        if not 1 <= self.supersampling <= 8:
            raise InputError(f"supersampling {self.supersampling}: give 1 to 8")
        limits = {"light": 1, "smallest_overlap": 1, "roll_degrees": 180}
        for name, largest in limits.items():
            if not 0 <= getattr(self, name) <= largest:
                raise InputError(f"{name} {getattr(self, name)}: give a number in [0, {largest}]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """One rendered view of SxS pixels.

    Attributes:
        image: SxSx3 uint8 RGB.
        mask: SxS bool, the object.
        correspondence: SxSx2 float32, position of each pixel in the other view, in pixels (centres
            at +0.5), NaN = no match.
        camera: Where it was seen from.
    """

    image: np.ndarray
    mask: np.ndarray
    correspondence: np.ndarray
    camera: Camera


@dataclasses.dataclass(frozen=True, kw_only=True)
class RenderedPair:
    """Two views of one object.

    Attributes:
        first: One view.
        second: The other one.
        shape: Kind of the object.
        textures: Names of the photographs it was covered with, mosaics or not.
        look_alikes: Whether every print of a surface occurs twice on it.
    """

    first: View
    second: View
    shape: str
    textures: tuple[str, ...]
    look_alikes: bool

    @property
    def rotation_degrees(self) -> float:
        """How far the object turns between the views, about any axis."""
        between = self.first.camera.rotation @ self.second.camera.rotation.T
        return float(np.rad2deg(np.arccos(np.clip((np.trace(between) - 1) / 2, -1.0, 1.0))))


def render_pair(
    textures: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    size: int,
    settings: PairSettings | None = None,
    glyphs: Glyphs | None = None,
) -> RenderedPair:
    """Render a pair: a pure function of the arguments and the generator's state.

    Args:
        textures: Name to hxwx3 uint8 photographs, at least one (two give another as background).
        rng: From `rba.draws.keyed_generator`.
        size: Side of both views in pixels, at least 16.
        settings: Ranges to draw from.
        glyphs: What is printed; all by default.

    Raises:
        InputError: If there is no texture or the size is below 16.
    """
    settings = settings or PairSettings()
    if not textures or size < 16:
        raise InputError(f"{len(textures)} textures at {size} pixels: give at least 1 and 16")
    seeds = [int(seed) for seed in rng.integers(0, 2**62, 4)]
    shape_rng, pose_rng, print_rng, look_rng = (
        keyed_generator(seed, "render", "pair", 0) for seed in seeds
    )
    mesh = make_mesh(settings.shapes[int(shape_rng.integers(len(settings.shapes)))], shape_rng)
    poses = draw_poses(mesh, pose_rng, size, _pose_ranges(settings))
    names = sorted(textures)
    chosen = [names[int(i)] for i in print_rng.permutation(len(names))[: min(2, len(names))]]
    large = [rasterise(mesh, camera.enlarged(settings.supersampling)) for camera in poses.cameras]
    style = settings.style
    twins_rng = keyed_generator(seeds[2], "print", "look-alikes", 0)
    look_alikes = bool(twins_rng.random() < style.look_alike_share)
    photos = [textures[name] for name in chosen]
    surfaces = print_surfaces(
        mesh, large, photos, seeds[2], size, style, glyphs, look_alikes=look_alikes
    )
    others = [name for name in names if name not in chosen]
    views: list[View] = []
    seen = zip(poses.cameras, poses.rasters, large, poses.maps, strict=True)
    for camera, raster, samples, map_ in seen:
        light = draw_light(look_rng, settings.light)
        pick = int(look_rng.integers(4 * max(len(others), 1)))
        photo = textures[others[pick // 4]] if others and pick % 4 else None
        background = draw_background(photo, look_rng, size)
        painted = paint(samples, surfaces, light, camera.rotation)
        image = compose(painted, samples.mask, background, settings.supersampling)
        views.append(View(image=image, mask=raster.mask, correspondence=map_, camera=camera))
    return RenderedPair(
        first=views[0],
        second=views[1],
        shape=mesh.kind,
        textures=tuple(sorted(set(chosen))),
        look_alikes=look_alikes,
    )


def _pose_ranges(settings: PairSettings) -> PoseRanges:
    return PoseRanges(
        rotation_degrees=settings.rotation_degrees,
        roll_degrees=settings.roll_degrees,
        fills=(settings.fill, settings.fill),
        smallest_overlap=settings.smallest_overlap,
    )
