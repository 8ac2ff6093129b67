"""Which mode a step has: a pure function of the step, the same on every rank."""

import dataclasses

from rba.batch import Mode
from rba.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModePattern:
    """Alternate the modes by optimiser step in a fixed ratio, spread as evenly as it goes.

    ``alignment=1, refinement=1`` gives A R A R ...; ``2, 1`` gives A A R ...; 0 leaves a mode out.

    Attributes:
        alignment: Share of alignment steps, an integer >= 0.
        refinement: Share of refinement steps, an integer >= 0.
        alignment_only_steps: So many alignment steps come first.

    Raises:
        InputError: If a number is negative or both shares are 0.
    """

    alignment: int = 1
    refinement: int = 1
    alignment_only_steps: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InputError(f"alternation.{field.name}={value}; give a whole number >= 0")
        if self.alignment + self.refinement == 0:
            raise InputError("alternation.alignment and alternation.refinement are both 0; set one")

    def uses(self, mode: Mode) -> bool:
        """Return whether any step has this mode."""
        if mode is Mode.ALIGNMENT:
            return self.alignment > 0 or self.alignment_only_steps > 0
        return self.refinement > 0

    def share(self, mode: Mode) -> float:
        """Return a mode's share of the later steps; 1 for one that has first steps alone."""
        of_mode = self.alignment if mode is Mode.ALIGNMENT else self.refinement
        return of_mode / (self.alignment + self.refinement) or 1.0

    def mode(self, step: int) -> Mode:
        """Return the mode of an optimiser step (>= 0)."""
        grows = self._alignment_steps(step + 1) > self._alignment_steps(step)
        return Mode.ALIGNMENT if grows else Mode.REFINEMENT

    def mode_step(self, step: int) -> int:
        """Return how many earlier steps had the mode of this step."""
        return self.earlier_steps(step, self.mode(step))

    def earlier_steps(self, step: int, mode: Mode) -> int:
        """Return how many steps before ``step`` had a mode."""
        before = self._alignment_steps(step)
        return before if mode is Mode.ALIGNMENT else step - before

    def _alignment_steps(self, steps: int) -> int:
        """Return the number of alignment steps among the first ``steps``, without counting them."""
        first = min(steps, self.alignment_only_steps)
        rest = steps - first
        return first + -(-rest * self.alignment // (self.alignment + self.refinement))
