"""What the shard builders share: sizes, keys, and the report of what was kept and dropped."""

import collections
import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from tqdm import tqdm

from rba.data.sample import Record
from rba.data.writer import ShardWriter
from rba.draws import keyed_generator
from rba.errors import InputError
from rba.geometry import resize

_NAMES_SHOWN = 5

T = TypeVar("T")


class DroppedError(Exception):
    """One input is left out; the message is the reason it is counted under."""


@dataclasses.dataclass
class BuildReport:
    """What a builder kept and dropped.

    Attributes:
        kept: Samples written.
        dropped: Names by reason.
    """

    kept: int = 0
    dropped: dict[str, list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )

    def drop(self, reason: object, name: object) -> None:
        """Count one input that was left out."""
        self.dropped[str(reason)].append(str(name))

    def require_kept(self, folder: object) -> None:
        """Refuse to finish a build that kept nothing.

        Raises:
            InputError: With the reasons and their counts.
        """
        if not self.kept:
            reasons = ", ".join(f"{len(names)} x {reason}" for reason, names in self._sorted())
            raise InputError(
                f"no input was kept for {folder} ({reasons}); see --help for the limits"
            )

    def finish(self, folder: Path, seconds: float) -> None:
        """Write ``build_report.json`` into the folder of the shards and print the summary."""
        facts: dict[str, Any] = {
            "kept": self.kept,
            "dropped": {reason: sorted(names) for reason, names in sorted(self.dropped.items())},
            "bytes": _bytes(folder),
            "seconds": round(seconds, 2),
        }
        (folder / "build_report.json").write_text(json.dumps(facts, indent=1) + "\n")
        print(self.table(folder, seconds))

    def table(self, folder: Path, seconds: float) -> str:
        """Return the summary as lines of text."""
        lines = [
            f"{'kept':<32}{self.kept:>10,}",
            *(f"{'dropped: ' + r:<32}{len(n):>10,}  {_some(n)}" for r, n in self._sorted()),
            f"{'megabytes':<32}{_bytes(folder) / 1e6:>10,.1f}",
            f"{'seconds':<32}{seconds:>10,.1f}",
        ]
        return "\n".join(lines)

    def _sorted(self) -> list[tuple[str, list[str]]]:
        return sorted((reason, sorted(names)) for reason, names in self.dropped.items())


def require_limits(config: Mapping[str, Any], **least: int) -> None:
    """Refuse numbers of a builder's configuration that are below their least value.

    Raises:
        InputError: Naming the number, or a JPEG quality beyond 100.
    """
    for name, low in {"quality": 1, "samples_per_shard": 1, "longest_side": 16, **least}.items():
        if config[name] < low:
            raise InputError(f"{name}={config[name]}; give at least {low}")
    if config["quality"] > 100:
        raise InputError(f"quality={config['quality']}; give 1 to 100")


def write_records(
    inputs: Sequence[tuple[str, T]],
    load: Callable[[T, str], Record],
    writer: ShardWriter,
    report: BuildReport,
    *,
    seed: int,
    quality: int,
) -> None:
    """Load, encode and write all inputs in a shuffled order, with a progress bar.

    Args:
        inputs: Name and input; the name stands in keys and in the report.
        load: Turns an input and a key into a record, or raises `DroppedError`.
        writer: Where records go.
        report: Counts what is kept and dropped.
        seed: Of the shuffle.
        quality: JPEG quality, 1 to 100.

    Raises:
        InputError: If nothing was kept.
    """
    order = keyed_generator(seed, "build", writer.kind.value, 0).permutation(len(inputs))
    for number in tqdm(order, desc=writer.folder.name, unit="input", disable=None):
        name, item = inputs[number]
        try:
            record = load(item, sample_key(report.kept, name))
        except DroppedError as reason:
            report.drop(reason, name)
            continue
        writer.write(record.key, record.encode(quality))
        report.kept += 1
    report.require_kept(writer.folder)


def sample_key(number: int, name: str) -> str:
    """Return a key that is unique by its number and still tells the source: ``000012_old-cup``."""
    readable = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
    return f"{number:06d}_{readable[:40].strip('-')}".rstrip("_")


def bound_size(
    image: np.ndarray, mask: np.ndarray | None, longest: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Shrink a picture and its mask so that the longest side is at most ``longest`` pixels.

    Raises:
        DroppedError: If the mask has another size than the picture, or is empty.
    """
    if mask is not None and mask.shape != image.shape[:2]:
        raise DroppedError("mask of another size")
    if mask is not None and not mask.any():
        raise DroppedError("empty object mask")
    height, width = image.shape[:2]
    if max(height, width) <= longest:
        return image, mask
    scale = longest / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    if mask is not None:
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        mask = share >= 0.5
        if not mask.any():
            raise DroppedError("empty object mask")
    return resize(image, height, width), mask


def is_picture(path: str | Path, suffixes: frozenset[str]) -> bool:
    """Return whether a file is a picture of its own, not the mask or truth of another."""
    name = os.path.basename(path).lower()
    if name.startswith(".") or name.endswith((".mask.png", ".correspondence.png")):
        return False
    return os.path.splitext(name)[1] in suffixes


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.tar"))


def _some(names: list[str]) -> str:
    more = f", ... {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
