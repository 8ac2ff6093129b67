"""The examples that come with the package: a rendered object with a defect, mask and reference."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from rba.app.uploads import Picture
from rba.geometry import resize
from rba.inference.panel import outlined
from rba.pictures import read_image, read_mask

FOLDER = Path(__file__).resolve().parent.parent / "assets" / "examples"
_CARD = 256  # pixels, one picture of a card


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A case on disk.

    Attributes:
        title: A few words.
        picture: With a defect.
        mask: HxW bool, the defect.
        reference: The object from another side, with its mask.
        steps: Sampler steps that suit the shipped model.
        guidance_scale: Guidance that suits it.
    """

    title: str
    picture: Picture
    mask: np.ndarray
    reference: Picture
    steps: int
    guidance_scale: float

    def card(self) -> np.ndarray:
        """Return picture and reference side by side, HxWx3 uint8."""
        marked = outlined(self.picture.pixels, self.mask)
        gap = np.full((_CARD, 8, 3), 255, np.uint8)
        return np.hstack([resize(marked, _CARD, _CARD), gap, self._reference_card()])

    def _reference_card(self) -> np.ndarray:
        return resize(self.reference.pixels, _CARD, _CARD)


def load_examples(folder: Path = FOLDER) -> tuple[Example, ...]:
    """Read the examples in the order of their folders' names; none where the folder is missing."""
    return tuple(_load(path.parent) for path in sorted(folder.glob("*/case.json")))


def _load(folder: Path) -> Example:
    facts: dict[str, Any] = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    return Example(
        title=facts["title"],
        picture=Picture(
            name=f"example-{folder.name}.png",
            pixels=read_image(folder / "image.png"),
            object_mask=None,
        ),
        mask=read_mask(folder / "mask.png"),
        reference=Picture(
            name="reference.png",
            pixels=read_image(folder / "reference.png"),
            object_mask=read_mask(folder / "reference_mask.png"),
        ),
        steps=facts["settings"]["num_inference_steps"],
        guidance_scale=facts["settings"]["guidance_scale"],
    )
