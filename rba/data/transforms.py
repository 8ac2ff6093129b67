"""Colour and blur augmentation, the only room that knows albumentations. No flips: they mirror
logos."""

import dataclasses
import os

import numpy as np

from rba.errors import InputError

# albumentations asks the network for its newest version when imported, unless told not to.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import albumentations


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColorSettings:
    """Strength of the colour augmentation; 0 everywhere leaves pictures as they are.

    Attributes:
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change.
        hue: Largest turn, share of the full circle (at most 0.5).
        blur: Largest standard deviation of the Gaussian blur, pixels.
        blur_probability: Share of pictures that are blurred.

    Raises:
        InputError: If a strength is out of bounds.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur: float = 0.0
    blur_probability: float = 0.0

    def __post_init__(self) -> None:
        limits = {"hue": 0.5, "blur": 20.0}
        for field in dataclasses.fields(self):
            value, high = getattr(self, field.name), limits.get(field.name, 1.0)
            if not 0.0 <= value <= high:
                raise InputError(f"color.{field.name}={value}; give 0 to {high:g}")

    def eased(self, difficulty: float) -> "ColorSettings":
        """Return these strengths times ``difficulty`` in [0, 1]."""
        names = [field.name for field in dataclasses.fields(self)]
        return ColorSettings(**{name: getattr(self, name) * difficulty for name in names})


class ColorAugmentation:
    """Change a picture's colours and sharpness as a pure function of a generator."""

    def __init__(self, settings: ColorSettings) -> None:
        steps: list[albumentations.BasicTransform | albumentations.BaseCompose] = []
        ranges = {
            name: (1.0 - getattr(settings, name), 1.0 + getattr(settings, name))
            for name in ("brightness", "contrast", "saturation")
        }
        if settings.hue or any(low < high for low, high in ranges.values()):
            hue = (-settings.hue, settings.hue)
            steps.append(albumentations.ColorJitter(**ranges, hue=hue, p=1.0))
        if settings.blur and settings.blur_probability:
            sigma = (min(0.1, settings.blur), settings.blur)
            probability = settings.blur_probability
            steps.append(
                albumentations.GaussianBlur(blur_limit=0, sigma_limit=sigma, p=probability)
            )
        self._compose = albumentations.Compose(steps) if steps else None

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the changed HxWx3 uint8 picture; one draw from ``rng``, whatever the settings."""
        seed = int(rng.integers(2**32))
        if self._compose is None:
            return image
        # Compose keeps a random state of its own: set anew at every call, none is carried over.
        self._compose.set_random_seed(seed)
        return self._compose(image=image)["image"]
