"""What scenes are drawn from: the object's shapes and pose, and how each of the two views looks."""

import dataclasses

from rba.errors import InputError
from rba.rendering.backdrop import BACKDROPS
from rba.rendering.drape import DRAPES
from rba.rendering.poses import Range
from rba.rendering.shapes import SHAPES
from rba.rendering.style import PrintStyle


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """How one view looks.

    Attributes:
        fill: Longest side of the object's box over the image's side, above 0, at most 1.
        backdrop: One of `rba.rendering.backdrop.BACKDROPS`.
        light: Strength of shading, in [0, 1]; 0 = none.
        tint: Largest relative change of each colour channel, in [0, 1).
        others: How many other objects stand behind, a range of whole numbers.

    Raises:
        InputError: If a value is out of its range.
    """

    fill: Range = (0.7, 0.9)
    backdrop: str = "studio"
    light: float = 0.4
    tint: float = 0.0
    others: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not 0 < self.fill[0] <= self.fill[1] <= 1:
            raise InputError(f"fill {self.fill}: give a range above 0, at most 1")
        if self.backdrop not in BACKDROPS:
            raise InputError(f"backdrop {self.backdrop}: give one of {', '.join(BACKDROPS)}")
        if not (0 <= self.light <= 1 and 0 <= self.tint < 1):
            raise InputError(f"light {self.light}, tint {self.tint}: give numbers in [0, 1]")
        if not 0 <= self.others[0] <= self.others[1] <= 8:
            raise InputError(f"others {self.others}: give a range within [0, 8]")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SceneSettings:
    """Ranges that scenes of one kind are drawn from.

    Attributes:
        shapes: Kinds of solids, or kinds of cloth (`rba.rendering.drape`), which is bent on the
            image and lies flat on the reference; each as likely as the others.
        rotation_degrees: How far the object turns between image and reference.
        roll_degrees: Largest turn of each view about the viewing axis.
        image: Look of the image.
        reference: Look of the reference.
        smallest_overlap: Poses are drawn again until this share of each view's object pixels is
            seen in the other, or six attempts have run out (the best is kept).
        texture_difference: Share in [0, 1] of another object's print in the image's print.
        supersampling: Samples along each axis of a pixel.
        style: How surfaces are printed.

    Raises:
        InputError: If a value is out of its range, or solids and cloth are mixed.
    """

    shapes: tuple[str, ...] = ("box", "cylinder", "card", "sheet")
    rotation_degrees: Range = (10.0, 30.0)
    roll_degrees: float = 10.0
    image: Look = dataclasses.field(default_factory=Look)
    reference: Look = dataclasses.field(default_factory=Look)
    smallest_overlap: float = 0.4
    texture_difference: float = 0.0
    supersampling: int = 2
    style: PrintStyle = dataclasses.field(default_factory=PrintStyle)

    def __post_init__(self) -> None:
        shapes = set(self.shapes)
        if not shapes or not (shapes <= set(SHAPES) or shapes <= set(DRAPES)):
            raise InputError(
                f"shapes {self.shapes}: give one or more of {sorted(SHAPES)}, or of {list(DRAPES)}"
            )
        if shapes <= set(DRAPES) and max(self.image.others[1], self.reference.others[1]) > 0:
            raise InputError(f"others {self.image.others}: only solids stand about, give 0")
        low, high = self.rotation_degrees
        if not 0 <= low <= high <= 90:
            raise InputError(f"rotation_degrees {(low, high)}: give a range within [0, 90]")
        for name, largest in {
            "smallest_overlap": 1,
            "texture_difference": 1,
            "roll_degrees": 180,
        }.items():
            if not 0 <= getattr(self, name) <= largest:
                raise InputError(f"{name} {getattr(self, name)}: give a number in [0, {largest}]")
        if not 1 <= self.supersampling <= 8:
            raise InputError(f"supersampling {self.supersampling}: give 1 to 8")
