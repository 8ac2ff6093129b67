"""One image to refine, with what is known about it: what inference takes and evaluation scores."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from rba.errors import InputError

TASKS = ("customization", "view_synthesis", "composition", "try_on")
"""The tasks of GenArtifactBench. [0] 4.1, A.6."""
GENERATORS = ("DreamBooth", "Zero123++", "AnyDoor", "IDM-VTON")
"""What made GenArtifactBench's images, in the order of `TASKS`. [0] A.6."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A generated image with a defect, its mask, reference(s), and the truth where it is known.

    Attributes:
        id: Unique name within a set.
        image: HxWx3 uint8 RGB, the generated image with its defect.
        artifact_mask: HxW bool, 1 = the defect; not empty.
        references: One or more hxwx3 uint8 RGB pictures of the object.
        reference_masks: For each reference its hxw bool object mask, or None where unknown.
        truth: HxWx3 uint8, the image without its defect, or None.
        correspondence_mask: hxw float32 in [0, 1] on the first reference, where the content of the
            artifact mask lies, or None.
        task: One of `TASKS`, or another word.
        generator: What made the image: one of `GENERATORS`, or another name.
        metadata: Anything else, JSON-serialisable.

    Raises:
        InputError: If sizes disagree or the mask is empty.
    """

    id: str
    image: np.ndarray
    artifact_mask: np.ndarray
    references: tuple[np.ndarray, ...]
    reference_masks: tuple[np.ndarray | None, ...]
    truth: np.ndarray | None = None
    correspondence_mask: np.ndarray | None = None
    task: str = "unknown"
    generator: str = "unknown"
    metadata: Mapping[str, object] = dataclasses.field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        size = self.image.shape[:2]
        if self.artifact_mask.shape != size:
            raise InputError(
                f"case {self.id}: the mask is {_wh(self.artifact_mask)} pixels, the image "
                f"{_wh(self.image)}; give a mask of the image's size"
            )
        if self.artifact_mask.dtype != bool:
            raise InputError(
                f"case {self.id}: the artifact mask is {self.artifact_mask.dtype}; give bool, for "
                "example mask > 0"
            )
        if not self.artifact_mask.any():
            raise InputError(f"case {self.id}: the artifact mask is empty; mark the defect with it")
        if not self.references or len(self.references) != len(self.reference_masks):
            raise InputError(
                f"case {self.id}: {len(self.references)} references with "
                f"{len(self.reference_masks)} reference masks; give one mask or None for each"
            )
        for reference, mask in zip(self.references, self.reference_masks, strict=True):
            if mask is not None and mask.shape != reference.shape[:2]:
                raise InputError(
                    f"case {self.id}: a reference of {_wh(reference)} pixels has an object mask of "
                    f"{_wh(mask)}; give a mask of the reference's size"
                )
        if self.truth is not None and self.truth.shape != self.image.shape:
            raise InputError(
                f"case {self.id}: the truth is {_wh(self.truth)}, not {_wh(self.image)}"
            )
        truth = self.correspondence_mask
        if truth is not None and truth.shape != self.references[0].shape[:2]:
            raise InputError(
                f"case {self.id}: the correspondence mask is {_wh(truth)} pixels, the reference "
                f"{_wh(self.references[0])}"
            )


def _wh(array: np.ndarray) -> str:
    return f"{array.shape[1]}x{array.shape[0]}"
