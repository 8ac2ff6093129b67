"""What the examples of both modes share: sizes, the seed of their draws, where masks come from."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.generator import generate_mask
from rba.masks.profile import MaskProfile, load_profile

MaskSource: TypeAlias = Callable[[np.random.Generator, int, int, np.ndarray | None], np.ndarray]
"""(generator, height, width, HxW bool of allowed pixels or None) -> HxW bool, not empty."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Which population artifact masks are drawn from.

    Attributes:
        profile: Name of a shipped profile or path of a file.
        area_factor: Multiplies every area; small models need larger holes.
    """

    profile: str = "pal"
    area_factor: float = 1.0

    def source(self) -> "ProfileMasks":
        """Load the profile.

        Raises:
            InputError: If it does not exist or the factor is not above 0.
        """
        return ProfileMasks(load_profile(self.profile).scaled(self.area_factor))


@dataclasses.dataclass(frozen=True)
class ProfileMasks:
    """The mask source of a profile; travels to loader workers."""

    profile: MaskProfile

    def __call__(
        self, rng: np.random.Generator, height: int, width: int, inside: np.ndarray | None
    ) -> np.ndarray:
        """Draw a height x width bool mask."""
        return generate_mask(self.profile, rng, height, width, inside=inside)

    def scaled(self, area_factor: float) -> "ProfileMasks":
        """Return the source with all areas multiplied."""
        return ProfileMasks(self.profile.scaled(area_factor))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How any record becomes an example.

    Attributes:
        image_size: Side of the target in pixels.
        reference_size: Side of the reference in pixels.
        masks: Where artifact masks come from.
        seed: The run's seed.
        namespace: Keeps the draws of modes, training and validation apart.

    Raises:
        InputError: If a size is below 16.
    """

    image_size: int
    reference_size: int
    masks: MaskSource
    seed: int
    namespace: str

    def __post_init__(self) -> None:
        for name in ("image_size", "reference_size"):
            if getattr(self, name) < 16:
                raise InputError(f"{name}={getattr(self, name)}; give at least 16 pixels")

    def generator(self, purpose: str, draw: int) -> np.random.Generator:
        """Return the generator of one purpose of one draw."""
        return keyed_generator(self.seed, purpose, self.namespace, draw)

    def draw_mask(self, rng: np.random.Generator, inside: np.ndarray | None) -> np.ndarray:
        """Draw an artifact mask over the target, within ``inside`` where that is not empty."""
        allowed = inside if inside is not None and inside.any() else None
        return self.masks(rng, self.image_size, self.image_size, allowed)


def on_black(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Show the object of an HxWx3 picture on black where its HxW mask is known."""
    return image if mask is None else cv2.copyTo(image, mask.astype(np.uint8))
