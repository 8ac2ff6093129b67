"""How fast a run goes and how long it still takes, from the times it is told."""

import collections


class Pace:
    """Seconds a step of late, without validations, and the time that is left.

    The first step is left out (compiling, starting workers), and so is all before a resume. Over
    so many steps an occasional save or a slow shard moves the rate by its share and no more.

    Args:
        num_steps: The rate is taken over so many of the latest steps.
    """

    def __init__(self, num_steps: int = 1000) -> None:
        # Step and seconds, those of validations taken out.
        self._marks: collections.deque[tuple[int, float]] = collections.deque(maxlen=num_steps + 1)
        self._paused_at: float | None = None
        self._paused = 0.0
        self._pauses = 0

    def mark(self, step: int, now: float) -> None:
        """Note that optimiser step ``step`` ended at ``now`` (seconds of any clock)."""
        self._marks.append((step, now - self._paused))

    def pause(self, now: float) -> None:
        """Note that a validation starts."""
        self._paused_at = now

    def go_on(self, now: float) -> float:
        """Note that a validation ended; returns its seconds."""
        seconds = 0.0 if self._paused_at is None else now - self._paused_at
        self._paused_at = None
        self._paused += seconds
        self._pauses += 1
        return seconds

    @property
    def seconds_per_step(self) -> float | None:
        """Mean of the latest steps; None before the second one."""
        if len(self._marks) < 2:
            return None
        (first, since), (last, until) = self._marks[0], self._marks[-1]
        return (until - since) / (last - first)

    def remaining(self, max_steps: int, validate_every: int | None) -> float | None:
        """Return the seconds left, validations included at their mean; None while not known.

        Args:
            max_steps: The last step.
            validate_every: Interval of validations in steps; None = there are none.
        """
        if (seconds := self.seconds_per_step) is None:
            return None
        step = self._marks[-1][0]
        left = seconds * (max_steps - step)
        if validate_every is None or not self._pauses:
            return left
        validations = max_steps // validate_every - step // validate_every
        return left + validations * self._paused / self._pauses


def clock(seconds: float | None) -> str:
    """Return ``2d 03:04:05``, ``3:04:05`` or ``4:05``; ``?`` for None."""
    if seconds is None:
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02d}:{minutes:02d}:{seconds:02d}"
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
