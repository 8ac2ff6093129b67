"""How to build: what the samples depend on, and how the work is cut."""

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Self

from rba.batch import Mode
from rba.data.build.duplicates import DuplicateIndex
from rba.data.output import OutputFolder
from rba.data.sample import JPEG_QUALITY
from rba.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuildJob:
    """How to build.

    Attributes:
        kind: What the records are.
        settings: What the samples depend on (tool, limits), for the manifest. A build goes on from
            what one of the same settings has finished.
        seed: Of the global shuffle; None = keep the order.
        quality: JPEG quality of records that are not encoded yet, 1 to 100.
        samples_per_shard: Most samples of a shard, at least 1.
        bytes_per_shard: Most bytes of a shard's members; 0 = no limit.
        near_distance: See `DuplicateIndex`.
        workers: Processes, 0 = all cores. The bytes do not depend on it.
        part: Which part of the inputs this job builds, from 0.
        parts: Into how many parts the inputs are cut; more than 1 builds ``part-003-of-008`` in the
            output folder, and `merge_parts` makes one set of them.
        overwrite: Remove shards and unfinished builds that lie in the folder.

    Raises:
        InputError: If a number is out of its range.
    """

    kind: Mode
    settings: Mapping[str, Any]
    seed: int | None = 0
    quality: int = JPEG_QUALITY
    samples_per_shard: int = 1000
    bytes_per_shard: int = 0
    near_distance: int = -1
    workers: int = 0
    part: int = 0
    parts: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, low in (("samples_per_shard", 1), ("bytes_per_shard", 0), ("workers", 0)):
            if getattr(self, name) < low:
                raise InputError(f"{name}={getattr(self, name)}; give at least {low}")
        if not 0 <= self.part < self.parts:
            raise InputError(f"part={self.part} parts={self.parts}; give parts >= 1, part below it")
        DuplicateIndex(self.near_distance)

    @classmethod
    def read(cls, kind: Mode, tool: str, config: Mapping[str, Any], stored: Sequence[str]) -> Self:
        """Take what the configuration of a tool says.

        Args:
            kind: What the records are.
            tool: Name of the tool, for the manifest.
            config: The tool's settings; attributes of this class that it lacks keep their defaults.
            stored: Names of the settings that samples depend on, for the manifest.
        """
        known = {field.name for field in dataclasses.fields(cls)} - {"kind", "settings"}
        given = {name: config[name] for name in config if name in known}
        settings = {"tool": tool, "version": version("refine-by-align")}
        return cls(
            kind=kind, settings={**settings, **{name: config[name] for name in stored}}, **given
        )

    def manifest_settings(self) -> dict[str, Any]:
        """Return what the manifest says; equal for all parts and for the whole."""
        names = ("seed", "samples_per_shard", "bytes_per_shard")
        return {**{name: getattr(self, name) for name in names}, **self.settings}

    def output(self, out: str) -> OutputFolder:
        """Return the folder of this job's shards."""
        folder = OutputFolder(out)
        return folder if self.parts == 1 else folder.inside(part_name(self.part, self.parts))


def part_name(part: int, parts: int) -> str:
    """Return the name of a part's folder: ``part-003-of-008``."""
    return f"part-{part:03d}-of-{parts:03d}"
