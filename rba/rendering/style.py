"""How surfaces are printed: how densely, on what ground, and whether every print has a twin."""

import dataclasses

from rba.errors import InputError

_DENSEST = 16.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrintStyle:
    """Ranges and shares that prints are drawn from.

    Attributes:
        density: Prints along the side of a square surface, a range drawn from for each surface,
            above 0 and at most 16; a wide surface gets more along its width.
        empty_share: Share of places without a print, in [0, 1].
        mosaic_share: Share of surfaces whose ground is a mosaic of random strong colours instead
            of a photograph, in [0, 1].
        look_alike_share: Share of objects on which every print of a surface occurs twice on that
            surface, so that only the surroundings tell the two places apart, in [0, 1].

    Raises:
        InputError: If a value is out of its range.
    """

    density: tuple[float, float] = (2.0, 3.2)
    empty_share: float = 0.18
    mosaic_share: float = 0.0
    look_alike_share: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.density
        if not 0 < low <= high <= _DENSEST:
            raise InputError(f"density {self.density}: give a range above 0, at most {_DENSEST:g}")
        for name in ("empty_share", "mosaic_share", "look_alike_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} {getattr(self, name)}: give a number in [0, 1]")
