"""What a resumed run does otherwise than before: found, told, and put into effect."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from rba.training.step_lines import append_line, drop_lines_from

# How a run is started and where it lies, and what is taken from the checkpoint instead.
_NO_SETTINGS = ("accept_changes", "check", "init_from", "resume", "run_name", "runs_folder")
_PLACES = ("folder", "name", "path", "save_dir", "source")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A setting that differs from the checkpoint's.

    Attributes:
        setting: Its dotted name.
        old: The checkpoint's value; None also where there was none.
        new: The value of now.
    """

    setting: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.setting} was {self.old}, is {self.new}"


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Return the settings that differ between two configurations in plain containers.

    Left out are paths and how the run is started (``resume``, ``check`` and alike).
    """
    if not before:  # a checkpoint that keeps no configuration
        return []
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    return [
        Change(setting=name, old=old.get(name), new=new.get(name))
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name) != new.get(name)
    ]


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if (not prefix and key in _NO_SETTINGS) or key in _PLACES:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")  # pyright: ignore
        else:
            yield f"{prefix}{key}", value


def write_changes(path: Path, changes: Sequence[Change], step: int) -> None:
    """Add what changed from ``step`` on: lines ``{"step", "setting", "old", "new"}``.

    Lines of ``step`` and later are of a run that was killed before it saved; they go.
    """
    drop_lines_from(path, step)
    for change in changes:
        append_line(path, {"step": step, **dataclasses.asdict(change)})


def renew_optimizer(checkpoint: Mapping[str, Any], optimizer: Optimizer, rate: LambdaLR) -> None:
    """Put the settings of now into a checkpoint's optimiser before it is loaded.

    Moments and the count of steps stay. The rate is a function of the step and of the settings
    alone, so from here on it is that of a run which has had these settings from its start; where
    nothing changed, nothing changes, bit for bit.

    Args:
        checkpoint: One of ours, changed in place; both groups of parameters are the same.
        optimizer: As the settings make it.
        rate: Its schedule, as the settings make it.
    """
    (saved,), (schedule,) = checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    step = schedule["last_epoch"]
    bases = rate.base_lrs
    rates = [base * factor(step) for base, factor in zip(bases, rate.lr_lambdas, strict=True)]
    schedule |= {"base_lrs": list(bases), "_last_lr": list(rates)}
    for group, new, now in zip(saved["param_groups"], optimizer.param_groups, rates, strict=True):
        group.update({name: value for name, value in new.items() if name != "params"})
        group["lr"] = now
