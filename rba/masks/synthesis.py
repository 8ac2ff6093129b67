"""Many masks of one profile, placed anywhere, or on the objects or details of pictures."""

import dataclasses
from pathlib import Path

import numpy as np

from rba.draws import keyed_generator
from rba.errors import InputError
from rba.masks.generator import generate_mask
from rba.masks.groups import MaskProfile
from rba.masks.placement import detail_map
from rba.masks.population import Measured, preview
from rba.masks.statistics import mask_statistics
from rba.pictures import list_images, read_image, read_image_with_alpha, read_mask, write_png

PLACES = ("free", "inside", "crossing", "detail")
_MASK_SUFFIX = ".mask"  # of the stem: NAME.mask.png is the object mask of NAME.jpg


@dataclasses.dataclass(frozen=True)
class Synthesis:
    """Masks that a profile and a seed make: mask k is a pure function of this and k.

    Attributes:
        profile: The population.
        seed: Of all draws.
        height: In pixels; pictures bring their own.
        width: In pixels.
        out: Folder to write ``mask-000000.png`` into; None = the masks are only measured.
        place: One of `PLACES`: anywhere, on a picture's object, over its edge, where detail is.
        pictures: Taken in turn where ``place`` is not ``free``.

    Raises:
        InputError: If the place is unknown, or pictures are missing or given in vain.
    """

    profile: MaskProfile
    seed: int
    height: int
    width: int
    out: Path | None = None
    place: str = "free"
    pictures: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if self.place not in PLACES:
            raise InputError(f"place={self.place}; give one of {', '.join(PLACES)}")
        if (self.place == "free") == bool(self.pictures):
            raise InputError(f"place={self.place} and pictures: give both, or place=free alone")

    def __call__(self, index: int) -> Measured:
        """Make, write and measure one mask.

        Raises:
            InputError: If no picture can be used.
        """
        name, skipped = f"mask-{index:06d}.png", ()
        rng = keyed_generator(self.seed, "mask", "synthesize", index)
        if self.place == "free":
            picture, mask = "", generate_mask(self.profile, rng, self.height, self.width)
        else:
            picture, place, skipped = self._find_place(index)
            mask = generate_mask(self.profile, rng, *place.shape, **{self.place: place})
        if self.out is not None:
            write_png(self.out / name, mask)
        size = (mask.shape[0], mask.shape[1])
        shown = preview(mask)
        return Measured(
            name, mask_statistics(mask), size, preview=shown, picture=picture, skipped=skipped
        )

    def _find_place(self, index: int) -> tuple[str, np.ndarray, tuple[str, ...]]:
        """Return the first usable picture from ``index`` on, its place, and those passed over."""
        skipped: list[str] = []
        for offset in range(len(self.pictures)):
            path = self.pictures[(index + offset) % len(self.pictures)]
            try:
                return path.name, self._place_of(path), tuple(skipped)
            except InputError as error:
                skipped.append(f"{path.name}: {error}")
        raise InputError(f"no picture can be used for place={self.place}: {skipped[0]}")

    def _place_of(self, path: Path) -> np.ndarray:
        if self.place == "detail":
            return detail_map(read_image(path))
        image, alpha = read_image_with_alpha(path)
        sidecar = path.with_name(f"{path.stem}{_MASK_SUFFIX}.png")
        found = read_mask(sidecar) if sidecar.is_file() else alpha
        if found is None or not found.any():
            raise InputError(f"it has no object mask ({sidecar.name}, or alpha)")
        if found.shape != image.shape[:2]:
            raise InputError(f"{sidecar.name} is of another size")
        return found


def list_pictures(folder: str | Path) -> tuple[Path, ...]:
    """List the pictures of a folder that are not object masks, sorted by name.

    Raises:
        InputError: If the folder does not exist or holds none.
    """
    found = [path for path in list_images(folder) if not path.stem.endswith(_MASK_SUFFIX)]
    if not found:
        raise InputError(f"{folder} holds object masks but no picture")
    return tuple(found)
