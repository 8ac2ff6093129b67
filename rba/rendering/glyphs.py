"""Letters and logos by split: what is printed for a test is never printed for training."""

import dataclasses

from rba.errors import InputError
from rba.rendering.textures import SPLITS

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ2345678"
_CORNERS = (3, 4, 5, 6, 7, 8)

# Held out whatever the pictures are: about a quarter, none a near copy of one that is left.
HELDOUT_LETTERS = frozenset("AJKQTX47")
HELDOUT_CORNERS = frozenset({5, 8})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Glyphs:
    """What prints are made of.

    Attributes:
        letters: Letters and digits, each as likely as the others.
        corners: Numbers of corners of the stars and polygons of logos.
    """

    letters: str = _LETTERS
    corners: tuple[int, ...] = _CORNERS


def glyphs_of(split: str) -> Glyphs:
    """The glyphs of ``all``, ``train`` or ``heldout``; the last two share none.

    Raises:
        InputError: If the split is unknown.
    """
    if split not in SPLITS:
        raise InputError(f"split={split}: give one of {', '.join(SPLITS)}")
    if split == "all":
        return Glyphs()
    held = split == "heldout"
    return Glyphs(
        letters="".join(one for one in _LETTERS if (one in HELDOUT_LETTERS) == held),
        corners=tuple(count for count in _CORNERS if (count in HELDOUT_CORNERS) == held),
    )
