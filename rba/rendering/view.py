"""Paint what a raster shows: textures, light and a background, with smooth edges."""

import dataclasses
from collections.abc import Mapping

import cv2
import numpy as np

from rba.rendering.raster import Raster

_REMAP_COLUMNS = 1024
# Pixels painted at a time: what they need stays in the processor's cache.
_CHUNK = 16384
# Light that the inner side of thin things gets.
_INNER_SIDE = 0.8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Light:
    """Light of one view.

    Attributes:
        direction: [3] towards the light, in camera axes, any length but 0.
        ambient: Light that shaded sides keep, in [0, 1]; 1 switches shading off.
        colour: [3] factors on red, green, blue; 1 = unchanged.
        shine: Strength of the highlight, in [0, 1].
    """

    direction: np.ndarray
    ambient: float = 1.0
    colour: np.ndarray = dataclasses.field(default_factory=lambda: np.ones(3))
    shine: float = 0.0


def draw_light(rng: np.random.Generator, strength: float) -> Light:
    """Draw a light; ``strength`` in [0, 1]: how much views may differ, 0 = no shading at all."""
    direction = np.array([rng.uniform(-0.9, 0.9), rng.uniform(-1.0, 0.3), -1.0])
    gain = 1.0 + strength * rng.uniform(-0.1, 0.22)
    tint = 1.0 + strength * rng.uniform(-0.08, 0.08, 3)
    return Light(
        direction=direction,
        ambient=1.0 - strength * rng.uniform(0.45, 0.75),
        colour=gain * tint,
        shine=strength * rng.uniform(0.0, 0.16),
    )


def paint(
    raster: Raster, textures: Mapping[int, np.ndarray], light: Light, rotation: np.ndarray
) -> np.ndarray:
    """Colour each pixel of a raster.

    Args:
        raster: HxW, at the resolution to paint in.
        textures: Surface number to hxwx3 uint8, at least for the surfaces that the raster shows.
        light: Its direction is in camera axes.
        rotation: 3x3 from object to camera axes.

    Returns:
        HxWx3 float32 in [0, 255], 0 where no object is. The inner side of thin things is darker.
    """
    places = np.flatnonzero(raster.mask)
    surfaces, facings = raster.surface.ravel()[places], raster.facing.ravel()[places]
    attributes = raster.attributes.reshape(-1, raster.attributes.shape[-1])
    turned = rotation.T.astype(np.float32)
    image = np.zeros((raster.surface.size, 3), np.float32)
    for start in range(0, places.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        values, surface, facing = attributes[places[part]], surfaces[part], facings[part]
        colours = np.zeros((len(values), 3), np.float32)
        for number, texture in textures.items():
            here = surface == number
            if here.any():
                colours[here] = _sample(texture, values[here, 6:])
        if light.ambient < 1 or light.shine > 0:
            normals = values[:, 3:6] @ turned
            normals[~facing] *= -1.0
            shade, shine = _shade(normals, light)
            shade[~facing] *= _INNER_SIDE
            colours = colours * shade[:, None] + 255.0 * shine[:, None]
        image[places[part]] = np.minimum(colours * light.colour.astype(np.float32), 255.0)
    return image.reshape(*raster.surface.shape, 3)


def _shade(normals: np.ndarray, light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Diffuse factor and highlight [N] for camera-space normals [N, 3]; the viewer is at -z."""
    towards = (light.direction / np.linalg.norm(light.direction)).astype(np.float32)
    diffuse = np.clip(normals @ towards, 0.0, 1.0)
    halfway = towards + np.array([0.0, 0.0, -1.0], np.float32)
    halfway /= np.linalg.norm(halfway)
    highlight = np.clip(normals @ halfway, 0.0, 1.0)
    # To the power of 24 by products: numpy's power costs ten times as much.
    highlight = highlight * highlight * highlight
    for _ in range(3):
        highlight *= highlight
    return light.ambient + (1.0 - light.ambient) * diffuse, light.shine * highlight


def _sample(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Look a texture up at [N, 2] positions in [0, 1], bilinearly: [N, 3]."""
    count = len(uv)
    rows = -(-count // _REMAP_COLUMNS)
    places = np.zeros((rows * _REMAP_COLUMNS, 2), np.float32)
    size = np.array([texture.shape[1], texture.shape[0]], np.float32)
    places[:count] = uv * size - 0.5
    x, y = (places[:, axis].reshape(rows, _REMAP_COLUMNS) for axis in (0, 1))
    drawn = cv2.remap(texture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return drawn.reshape(-1, 3)[:count]


def compose(
    image: np.ndarray, mask: np.ndarray, background: np.ndarray, supersampling: int
) -> np.ndarray:
    """Bring a painted image down to the background's size and lay it over with a soft shadow.

    Args:
        image: sHxsWx3 float32, 0 outside the mask.
        mask: sHxsW bool.
        background: HxWx3 float32 in [0, 255].
        supersampling: s, samples along each axis of a pixel.

    Returns:
        HxWx3 uint8.
    """
    height, width = background.shape[:2]
    cover = mask.astype(np.float32)
    if supersampling > 1:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        cover = cv2.resize(cover, (width, height), interpolation=cv2.INTER_AREA)
    shaded = background * (1.0 - 0.45 * _shadow(cover))[..., None]
    return np.rint(image + shaded * (1.0 - cover[..., None])).clip(0, 255).astype(np.uint8)


def _shadow(cover: np.ndarray) -> np.ndarray:
    """A blurred copy of the object, moved down a little: HxW in [0, 1]."""
    height, width = cover.shape
    small = cv2.resize(cover, (64, 64), interpolation=cv2.INTER_AREA)
    moved = np.vstack([np.zeros((2, 64), np.float32), small[:-2]])
    blurred = cv2.GaussianBlur(moved, (0, 0), 2.5)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)


def draw_background(photo: np.ndarray | None, rng: np.random.Generator, size: int) -> np.ndarray:
    """A background out of focus: a blurred crop of a photograph, or a gradient without one.

    Returns:
        size x size x 3 float32 in [0, 255].
    """
    if photo is None:
        ends = rng.uniform(60, 245, (2, 3)).astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
        ramp = np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None]
        ramp = np.clip(ramp / 1.4 + 0.5, 0.0, 1.0)[..., None].astype(np.float32)
        return (1 - ramp) * ends[0] + ramp * ends[1]
    height, width = photo.shape[:2]
    side = max(round(min(height, width) * rng.uniform(0.4, 0.9)), 1)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    part = photo[top : top + side, left : left + side]
    small = cv2.resize(part, (96, 96), interpolation=cv2.INTER_AREA).astype(np.float32)
    blurred = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(1.5, 4.0)))
    large = cv2.resize(blurred, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(large * np.float32(rng.uniform(0.75, 1.15)), 0.0, 255.0)
