"""The report case by case: what every mean and interval is computed from."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rba.evaluation.scores import Scores, finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class CaseScores:
    """All figures of one case.

    Attributes:
        id: The case.
        object_name: What it shows.
        look_alikes: Whether other places of the object look like the artifact's content; None =
            unknown.
        artifact_share: Area of the artifact mask, share of the image.
        truth_share_of_reference: Area of the true region, share of the R x R reference; None where
            no match is known.
        truth_share_of_object: The same, share of the object on it.
        alignment: Figures by method; empty where no match is known.
        refinement: Figures by condition; empty where the case was not refined.
    """

    id: str
    object_name: str
    look_alikes: bool | None
    artifact_share: float
    truth_share_of_reference: float | None
    truth_share_of_object: float | None
    alignment: Mapping[str, Scores]
    refinement: Mapping[str, Scores]

    def to_row(self) -> dict[str, object]:
        """Return a flat row: facts, IoU and hit by method, PSNR in the hole by condition (dB)."""
        row: dict[str, object] = {
            "id": self.id,
            "object": self.object_name,
            "look_alikes": self.look_alikes,
            "artifact_share": self.artifact_share,
            "truth_share_of_reference": self.truth_share_of_reference,
            "truth_share_of_object": self.truth_share_of_object,
        }
        for method, scores in self.alignment.items():
            row |= {f"iou_{method}": scores["miou"], f"hit_{method}": scores["hit_rate"]}
        for condition, scores in self.refinement.items():
            row[f"psnr_{condition}"] = finite(scores["psnr_in_hole"])
        return row


def write_csv(path: str | Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows under the union of their columns; what a row lacks, or is None, stays empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
