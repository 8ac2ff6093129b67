"""Cases as annotated batches, so that (t*, l*) is calibrated on just what inference will see."""

from collections.abc import Iterator, Sequence

import numpy as np

from rba.batch import Batch, Example, Mode
from rba.case import Case
from rba.inference.frames import mask_in_frame, reference_frame, zoom_in
from rba.inference.locate import network_image_size
from rba.inference.request import RefinementSettings
from rba.models.network import RefinementNetwork


def case_batches(
    network: RefinementNetwork,
    cases: Sequence[Case],
    settings: RefinementSettings,
    *,
    numbers: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Cut each case as the alignment stage would and batch them.

    Args:
        network: Gives the sizes.
        cases: Those without a correspondence mask count as unknown.
        settings: Zoom-in, ``object_margin`` and ``batch_size``.
        numbers: Draw number of each case; None = its place in ``cases``.

    Yields:
        Alignment batches in the cases' order.
    """
    size = network_image_size(network, settings)
    examples = [
        _example(case, number, size, network.reference_size, settings)
        for number, case in zip(numbers or range(len(cases)), cases, strict=True)
    ]
    for start in range(0, len(examples), settings.batch_size):
        yield Batch.collate(Mode.ALIGNMENT, examples[start : start + settings.batch_size])


def _example(
    case: Case, index: int, size: int, reference_size: int, settings: RefinementSettings
) -> Example:
    factor = settings.crop_factor if settings.zoom_in else None
    crop = zoom_in(
        case.image,
        case.artifact_mask,
        size,
        factor=factor,
        magnification=settings.max_magnification,
    )
    reference = reference_frame(
        case.references[0],
        case.reference_masks[0],
        reference_size,
        object_margin=settings.object_margin,
    )
    truth = case.correspondence_mask
    region = (
        np.zeros((reference_size, reference_size), np.float32)
        if truth is None
        else mask_in_frame(truth, reference)
    )
    return Example(
        image=crop.pixels,
        artifact_mask=crop.mask,
        reference=reference.pixels,
        reference_mask=reference.mask,
        correspondence_mask=region,
        correspondence_known=bool((region >= 0.5).any()),
        draw=index,
        sample_id=f"cases/-/{case.id}",
    )
