"""What refining takes, how it is set, and what it gives back."""

import dataclasses

import numpy as np

from rba.attention.region import RegionSettings
from rba.case import Case
from rba.errors import InputError
from rba.geometry import Box, paste
from rba.inference.align import AlignmentSettings
from rba.inference.frames import Frame
from rba.inference.sampler import SamplerSettings

MAX_FEATHER = 8  # pixels of the crop; a promise to users: what lies further away is untouched


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementSettings:
    """Every number of the two stages.

    Attributes:
        image_size: Side in pixels of the crop at the network; None = what the network was built for
            (`unet.config.sample_size` latent cells).
        zoom_in: Work on a square crop around the artifact; False takes the whole image.
        crop_factor: Side of that crop in sides of the mask's box (AnyDoor crops 1.3-3x).
        max_magnification: A crop is enlarged at most this much.
        object_margin: Margin around the object on the complete reference, where its mask is known:
            share of its longer side, as `object_margin` of the training data.
        feather_dilation: Pixels of the crop around the mask that are replaced wholly.
        feather_radius: Pixels of the crop beyond that over which the change fades out.
        alignment: Where the correspondence map is read.
        region: Post-processing of the map.
        reencode_region: Encode the matched region again, cut from the original reference; False
            keeps the tokens of the complete reference that the region touches, each at its place,
            and puts null tokens in all other places (an ablation).
        sampler: Steps and guidance of the refinement stage.
        seed: Keys the noise, with each request's draw number.
        batch_size: Requests that go through the network together.
        defect_distance: Parts of a mask further apart than this share of the image's longer side
            are defects of their own, mended one after another; None takes the mask as one.
        max_defects: Where there are more, the distance grows until there are not.
        choose_reference: Take the best of a case's references for each defect; False takes the one
            that the request names.

    Raises:
        InputError: If a number contradicts the promises above.
    """

    image_size: int | None = None
    zoom_in: bool = True
    crop_factor: float = 3.0
    max_magnification: float = 4.0
    object_margin: float = 0.1
    feather_dilation: int = 2
    feather_radius: int = 4
    alignment: AlignmentSettings = dataclasses.field(default_factory=AlignmentSettings)
    region: RegionSettings = dataclasses.field(default_factory=RegionSettings)
    reencode_region: bool = True
    sampler: SamplerSettings = dataclasses.field(default_factory=SamplerSettings)
    seed: int = 0
    batch_size: int = 4
    defect_distance: float | None = 0.1
    max_defects: int = 8
    choose_reference: bool = True

    def __post_init__(self) -> None:
        reach = self.feather_dilation + self.feather_radius
        if min(self.feather_dilation, self.feather_radius) < 0 or reach > MAX_FEATHER:
            raise InputError(
                f"feather_dilation {self.feather_dilation} + feather_radius {self.feather_radius} "
                f"must lie in 0-{MAX_FEATHER} pixels of the crop"
            )
        if self.crop_factor < 1.1:
            raise InputError(
                f"crop_factor {self.crop_factor} leaves no surroundings; give 1.1 or more"
            )
        if self.batch_size < 1 or self.max_magnification <= 0:
            raise InputError(
                f"batch_size {self.batch_size} and max_magnification {self.max_magnification} must "
                "be positive"
            )
        if self.defect_distance is not None and not 0.0 <= self.defect_distance <= 1.5:
            raise InputError(
                f"defect_distance {self.defect_distance} is out of range; give 0 to 1.5, or None"
            )
        if self.max_defects < 1:
            raise InputError(f"max_defects {self.max_defects} mends nothing; give at least 1")
        if not 0.0 <= self.object_margin <= 2.0:
            raise InputError(f"object_margin {self.object_margin} is out of range; give 0 to 2")
        if self.image_size is not None and self.image_size < 16:
            raise InputError(f"image_size {self.image_size} is too small; give at least 16 pixels")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed {self.seed} must lie in 0 to 2**63 - 1")

    @property
    def feather_reach(self) -> tuple[int, int]:
        """(dilation, radius) in pixels of the crop."""
        return self.feather_dilation, self.feather_radius


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementRequest:
    """One image to refine.

    Attributes:
        case: Image, artifact mask, reference(s).
        reference_index: Which of the case's references.
        region: hxw bool on that reference: the matching region, where it is known. Skips alignment.
        no_reference: Refine under the null condition, without alignment.
        draw: Keys the noise; requests with equal numbers start from equal noise.

    Raises:
        InputError: If the region does not fit the reference or is empty, or a picture is not uint8.
    """

    case: Case
    reference_index: int = 0
    region: np.ndarray | None = None
    no_reference: bool = False
    draw: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.reference_index < len(self.case.references):
            raise InputError(
                f"case {self.case.id}: reference {self.reference_index} does not exist, there are "
                f"{len(self.case.references)}"
            )
        for name, picture in (("image", self.case.image), ("reference", self.reference)):
            if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
                raise InputError(
                    f"case {self.case.id}: the {name} is {picture.dtype} {picture.shape}; give an "
                    "HxWx3 uint8 RGB picture"
                )
        object_mask = self.reference_mask
        if object_mask is not None and not object_mask.any():
            raise InputError(f"case {self.case.id}: the reference's object mask is empty")
        if self.region is not None:
            self._check_region(self.region)

    def _check_region(self, region: np.ndarray) -> None:
        if region.shape != self.reference.shape[:2] or not region.any():
            raise InputError(
                f"case {self.case.id}: the region {region.shape} is empty or not of the "
                f"reference's size {self.reference.shape[:2]}"
            )

    @property
    def reference(self) -> np.ndarray:
        """The reference, hxwx3 uint8."""
        return self.case.references[self.reference_index]

    @property
    def reference_mask(self) -> np.ndarray | None:
        """The reference's object mask, hxw bool, or None."""
        return self.case.reference_masks[self.reference_index]

    def whole_region(self) -> np.ndarray:
        """Return the region that holds all: the object, or the picture without an object mask."""
        known = self.reference_mask
        return np.ones(self.reference.shape[:2], bool) if known is None else known


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where on the reference the artifact's content lies.

    Attributes:
        crop: The crop of the generated image that both stages work on.
        reference: The complete reference as the network sees it: the square around the object, or
            the whole picture where no object mask is known.
        correspondence_map: n x n float32 that sums to 1; None where alignment was skipped.
        cells: n x n bool, the post-processed map; None where alignment was skipped.
        region: hxw bool on the original reference, the correspondence mask; None = no reference.
        matched: The region's cut-out; None = no reference.
        fallback: Nothing was left of the map, so the region is the whole object (the whole picture
            where no object mask is known).
        confidence: Share of the map's mass that lies in the region; NaN without alignment.
        seconds: ``prepare`` and ``align``, this request's share of its batch.
    """

    crop: Frame
    reference: Frame
    correspondence_map: np.ndarray | None
    cells: np.ndarray | None
    region: np.ndarray | None
    matched: Frame | None
    fallback: bool
    confidence: float
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementResult:
    """A refined image and how it came about.

    Attributes:
        image: HxWx3 uint8, the refined image in the input's size.
        alignment: The first stage's result.
        refined_crop: S x S x 3 uint8, what the network made of the crop.
        feather: Paste-back weights over ``alignment.crop.box``, float32 in [0, 1].
        seconds: By stage: ``prepare``, ``align``, ``refine``, ``paste``; shares of the batch.
    """

    image: np.ndarray
    alignment: Alignment
    refined_crop: np.ndarray
    feather: np.ndarray
    seconds: dict[str, float]

    @property
    def crop_box(self) -> Box:
        """The crop used, in pixels of the input; it may reach outside."""
        return self.alignment.crop.box

    @property
    def correspondence_mask(self) -> np.ndarray | None:
        """The correspondence mask on the original reference, hxw bool, or None."""
        return self.alignment.region

    @property
    def reference_box(self) -> Box | None:
        """The box that was cut from the original reference, or None."""
        return None if self.alignment.matched is None else self.alignment.matched.box

    def feather_mask(self) -> np.ndarray:
        """Return the paste-back weights as HxW float32; 0 = bit-equal to the input."""
        empty = np.zeros(self.image.shape[:2], np.float32)
        return paste(empty, self.feather, self.crop_box)
