"""From easy to hard over the first samples of a mode, as a pure function of the draw number."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from rba.batch import Example
from rba.errors import InputError

_LEVELS = 20  # steps from easy to hard; each has its own augmentations, made when it is reached


@dataclasses.dataclass(frozen=True, kw_only=True)
class Curriculum:
    """How the difficulty of examples grows with the samples that a mode has seen.

    At difficulty d a reference's rotation, perspective, translation and colour change have d times
    their configured range, its scale range the power d, and holes ``area_factor ** (1 - d)`` times
    their configured area. Difficulty grows linearly and stays at 1.

    Attributes:
        samples: Samples of a mode until full difficulty; 0 = full from the start.
        difficulty: At the first sample, in [0, 1].
        area_factor: Hole area at difficulty 0 over the configured one.

    Raises:
        InputError: If a number is out of bounds.
    """

    samples: int = 0
    difficulty: float = 0.0
    area_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise InputError(f"data.curriculum.samples={self.samples}; give 0 (off) or more")
        if not 0.0 <= self.difficulty <= 1.0:
            raise InputError(f"data.curriculum.difficulty={self.difficulty}; give 0 to 1")
        if not 0.0 < self.area_factor <= 100.0:
            raise InputError(
                f"data.curriculum.area_factor={self.area_factor}; give above 0, at most 100"
            )

    def level(self, draw: int) -> int:
        """Return the level of a draw of a mode, 0 to `full_level`."""
        if draw >= self.samples:
            return self.full_level
        share = self.difficulty + (1.0 - self.difficulty) * draw / self.samples
        return math.floor(share * _LEVELS)

    @property
    def full_level(self) -> int:
        """The level of full difficulty."""
        return _LEVELS

    def difficulty_at(self, level: int) -> float:
        """Return the difficulty of a level, in [0, 1]."""
        return level / _LEVELS

    def area_factor_at(self, level: int) -> float:
        """Return what multiplies hole areas at a level."""
        return self.area_factor ** (1.0 - self.difficulty_at(level))


class CurriculumExamples:
    """Make examples of the difficulty that belongs to their draw.

    Args:
        curriculum: Draw number to level.
        maker: (difficulty, area factor) to the function that makes examples.
    """

    def __init__(
        self, curriculum: Curriculum, maker: Callable[[float, float], Callable[..., Example]]
    ) -> None:
        self.curriculum = curriculum
        self.maker = maker
        self._made: dict[int, Callable[..., Example]] = {}

    def __call__(self, record: Any, draw: int, sample_id: str) -> Example:
        """Make the example of one draw."""
        level = self.curriculum.level(draw)
        if level not in self._made:
            self._made = {
                level: self.maker(
                    self.curriculum.difficulty_at(level), self.curriculum.area_factor_at(level)
                )
            }
        return self._made[level](record, draw, sample_id)
