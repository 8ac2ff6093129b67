"""Which rows of the table are ours: what guides the network in each, and what is left out."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from rba.inference.request import RefinementSettings

Guide = Literal["found", "true", "whole", "wrong", "nothing"]
Change = Callable[[RefinementSettings], RefinementSettings]
OURS = "ours"
NUM_NOISES = 4
STEP_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8)  # of all sampler steps: five cells of one layer


def _as_it_is(settings: RefinementSettings) -> RefinementSettings:
    return settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """One row that the network computes.

    Attributes:
        name: The row's name.
        description: One plain sentence.
        guide: What guides the refinement: the region that alignment ``found`` on the case's
            reference, the ``true`` region, the ``whole`` object, the region found on a ``wrong``
            object's reference, or ``nothing`` (null tokens).
        change: Of the settings of `OURS`.
        ablation: A part of the method is left out or changed.
    """

    name: str
    description: str
    guide: Guide = "found"
    change: Change = _as_it_is
    ablation: bool = False


def _raw_map(settings: RefinementSettings) -> RefinementSettings:
    region = dataclasses.replace(settings.region, clean=False)
    return dataclasses.replace(settings, region=region)


def _whole_image(settings: RefinementSettings) -> RefinementSettings:
    return dataclasses.replace(settings, zoom_in=False)


def _old_tokens(settings: RefinementSettings) -> RefinementSettings:
    return dataclasses.replace(settings, reencode_region=False)


def _several_noises(settings: RefinementSettings) -> RefinementSettings:
    alignment = dataclasses.replace(settings.alignment, num_noises=NUM_NOISES)
    return dataclasses.replace(settings, alignment=alignment)


def _several_cells(settings: RefinementSettings) -> RefinementSettings:
    current = settings.alignment
    steps = [int(share * current.num_inference_steps) for share in STEP_SHARES]
    cells = tuple((step, current.layer) for step in steps)
    return dataclasses.replace(settings, alignment=dataclasses.replace(current, cells=cells))


def _defects_apart(settings: RefinementSettings) -> RefinementSettings:
    usual = RefinementSettings().defect_distance
    return dataclasses.replace(settings, defect_distance=usual)


ROWS: tuple[NetworkRow, ...] = (
    NetworkRow(
        name=OURS,
        description="The whole method: the region that alignment finds on the case's reference "
        "guides the refinement; the mask is taken as one defect.",
    ),
    NetworkRow(
        name="oracle_region",
        description="The true region guides the refinement: an upper bound for any alignment.",
        guide="true",
    ),
    NetworkRow(
        name="whole_reference",
        description="No alignment: the whole object of the reference (the whole picture where no "
        "object mask is known) guides the refinement.",
        guide="whole",
    ),
    NetworkRow(
        name="wrong_reference",
        description="The whole method with the reference of the next case that shows another "
        "object.",
        guide="wrong",
    ),
    NetworkRow(
        name="no_reference",
        description="Inpainting by the same network under the null condition, with no reference.",
        guide="nothing",
    ),
    NetworkRow(
        name="ours_no_postprocessing",
        description="As ours, but every cell of the raw map above its threshold is the region: no "
        "noise filter, no clustering, no largest blob, no object mask.",
        change=_raw_map,
        ablation=True,
    ),
    NetworkRow(
        name="ours_no_zoom",
        description="As ours, but both stages see the whole image instead of a crop around the "
        "defect.",
        change=_whole_image,
        ablation=True,
    ),
    NetworkRow(
        name="ours_no_reencoding",
        description="As ours, but the region is not cut out and encoded again: those tokens of the "
        "complete reference that it touches guide the refinement, each at its place, with null "
        "tokens in all other places.",
        change=_old_tokens,
        ablation=True,
    ),
    NetworkRow(
        name="ours_four_noises",
        description=f"As ours, but the map is the mean over {NUM_NOISES} starting noises.",
        change=_several_noises,
        ablation=True,
    ),
    NetworkRow(
        name="ours_mean_cells",
        description="As ours, but the map is the mean over the chosen cell and the chosen layer at "
        "five sampler steps from the noisiest to four fifths of the way.",
        change=_several_cells,
        ablation=True,
    ),
    NetworkRow(
        name="ours_defects_apart",
        description="As ours, but parts of the mask that lie far apart are mended one after "
        "another, as `rba refine` does.",
        change=_defects_apart,
        ablation=True,
    ),
)
