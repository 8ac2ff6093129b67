"""Measure the records of a set of shards: sizes, areas, matches."""

import collections
import dataclasses
from typing import Any

import numpy as np

from rba.data.drawn_masks import allowed_pixels, draw_masks
from rba.data.record_choice import RecordPlace
from rba.data.sample import (
    MATCH_STRIDE,
    AlignmentRecord,
    RecordError,
    RefinementRecord,
    decode_record,
)
from rba.data.shards import ShardSet
from rba.draws import keyed_generator
from rba.masks.profile import MaskProfile

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_MOST_VALUES = 12  # distinct values of a metadata entry that are still counted
_NAMES_KEPT = 20  # of unreadable records

# What is measured, in the order of the plots, and the axis of its plot. Without an object mask the
# whole picture is the object of `match_coverage`.
LABELS = {
    "longest_side": "longest side, pixels",
    "shortest_side": "shortest side, pixels",
    "aspect": "width over height",
    "object_area": "object, share of the picture",
    "artifact_area": "drawn artifact mask, share of the picture",
    "reference_longest_side": "reference: longest side, pixels",
    "reference_object_area": "reference: object, share of the picture",
    "matches": "matches of a pair",
    "match_coverage": "share of the object that has matches",
    "confidence": "median confidence of a pair's matches",
}


@dataclasses.dataclass
class ShardDescription:
    """What was measured.

    Attributes:
        values: Name of a quantity -> its values, a number a record that has it.
        measured: Records that were read.
        unreadable: How many could not be read.
        examples: Some of those, with the reason.
        facts: Name of a text in the records' metadata -> how often each value occurs; only where
            there are few values.
    """

    values: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    measured: int = 0
    unreadable: int = 0
    examples: list[str] = dataclasses.field(default_factory=list[str])
    facts: dict[str, collections.Counter[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )

    _many: set[str] = dataclasses.field(default_factory=set[str])

    def summary(self) -> dict[str, Any]:
        """Return counts and, for each quantity, mean and quantiles, as plain numbers."""
        facts = {name: dict(sorted(counts.items())) for name, counts in self.facts.items()}
        return {
            "measured": self.measured,
            "unreadable": {"count": self.unreadable, "examples": self.examples},
            "facts": dict(sorted(facts.items())),
            "quantities": {
                name: quantiles(self.values[name]) for name in LABELS if self.values.get(name)
            },
        }

    def add(self, shards: ShardSet, place: RecordPlace, profile: MaskProfile, seed: int) -> None:
        """Read and measure one record, with one artifact mask of the profile."""
        key = f"sample {place.index}"
        try:
            key, members = shards.read(place.shard, place.index)
            record = decode_record(shards.kind, key, members)
        except RecordError as error:
            self.unreadable += 1
            if len(self.examples) < _NAMES_KEPT:
                self.examples.append(f"{shards.entries[place.shard].name} {key}: {error}")
            return
        rng = keyed_generator(seed, "describe masks", shards.kind.value, place.number)
        for name, value in measure(record, profile, rng).items():
            self.values[name].append(value)
        self._count_facts(record)
        self.measured += 1

    def _count_facts(self, record: AlignmentRecord | RefinementRecord) -> None:
        for name, value in record.metadata.items():
            if not isinstance(value, str) or name in self._many:
                continue
            self.facts[name][value] += 1
            if len(self.facts[name]) > _MOST_VALUES:
                self._many.add(name)
                del self.facts[name]


def measure(
    record: AlignmentRecord | RefinementRecord, profile: MaskProfile, rng: np.random.Generator
) -> dict[str, float]:
    """Return the quantities of `LABELS` that a record has."""
    image = record.image if isinstance(record, AlignmentRecord) else record.target
    mask = record.mask if isinstance(record, AlignmentRecord) else record.target_mask
    height, width = image.shape[0], image.shape[1]
    found = {
        "longest_side": float(max(height, width)),
        "shortest_side": float(min(height, width)),
        "aspect": width / height,
    }
    if mask is not None:
        found["object_area"] = float(mask.mean())
    valid = None
    if isinstance(record, RefinementRecord):
        found["reference_longest_side"] = float(max(record.reference.shape[:2]))
        if record.reference_mask is not None:
            found["reference_object_area"] = float(record.reference_mask.mean())
        if record.matches is not None:
            valid = np.isfinite(record.matches[..., 0])
            found |= _match_quantities(record.matches, valid, mask)
    allowed = allowed_pixels(mask, valid, (height, width))
    (hole,) = draw_masks(profile, rng, 1, (height, width), allowed)
    return {**found, "artifact_area": float(hole.mean())}


def _match_quantities(
    matches: np.ndarray, valid: np.ndarray, mask: np.ndarray | None
) -> dict[str, float]:
    on_object = np.ones(valid.shape, bool)
    if mask is not None and mask.any():
        rows, columns = (
            np.minimum(np.arange(nodes) * MATCH_STRIDE + MATCH_STRIDE // 2, pixels - 1)
            for nodes, pixels in zip(valid.shape, mask.shape, strict=True)
        )
        on_object = mask[np.ix_(rows, columns)]
    found = {"matches": float(valid.sum())}
    if on_object.any():
        found["match_coverage"] = float(valid[on_object].mean())
    if valid.any():
        found["confidence"] = float(np.median(matches[valid][:, 2].astype(np.float32)))
    return found


def quantiles(values: list[float]) -> dict[str, float]:
    """Return number, mean and quantiles, as ``count``, ``mean``, ``q0`` ... ``q100``."""
    table = np.asarray(values, np.float64)
    found = {f"q{round(100 * q)}": float(np.quantile(table, q)) for q in _QUANTILES}
    return {"count": len(values), "mean": float(table.mean()), **found}
