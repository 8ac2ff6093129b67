"""What a decoded record may hold: values that no builder writes cannot become an example."""

from collections.abc import Iterator

import numpy as np

from rba.data.sample import AlignmentRecord, Record, RecordError, RefinementRecord

_OUTSIDE = 0.02  # matches may leave the reference by this share: they are interpolated, float16


def value_faults(record: Record) -> Iterator[str]:
    """Yield what a decoded record holds that no builder writes."""
    masks = {"mask": record.mask} if isinstance(record, AlignmentRecord) else {}
    if isinstance(record, RefinementRecord):
        masks = {"target_mask": record.target_mask, "reference_mask": record.reference_mask}
    for name, mask in masks.items():
        if mask is not None and not mask.any():
            yield f"member '{name}.png' is empty: it marks no pixel"
    if isinstance(record, RefinementRecord) and record.matches is not None:
        matches = record.matches.astype(np.float32)
        values = matches[np.isfinite(matches[..., :2]).all(axis=-1)]
        places, confidence = values[:, :2], values[:, 2]
        if np.isinf(matches).any() or (np.abs(places - 0.5) > 0.5 + _OUTSIDE).any():
            yield "member 'matches.npy' has places outside the reference"
        if not ((confidence >= 0) & (confidence <= 1)).all():
            yield "member 'matches.npy' has confidences outside [0, 1]"


def require_values(record: Record) -> None:
    """Refuse a record that would make an example without an object or with false matches.

    Raises:
        RecordError: Naming the member.
    """
    for reason in value_faults(record):
        raise RecordError(reason)
