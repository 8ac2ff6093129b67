"""The files of one row: ``CASE_ID.png``, the region found, and, last, ``CASE_ID.json``."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rba.evaluation.methods import MethodResult
from rba.pictures import read_image, read_mask, write_png


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredScores:
    """What ``CASE_ID.json`` says.

    Attributes:
        scores: By metric; None where it is not defined for the case. Empty after a failure.
        notes: Of the method.
        scored_with: Digest of the metrics that gave the scores.
        error: Why there is no result; None where there is one.
    """

    scores: Mapping[str, float | None]
    notes: Mapping[str, object]
    scored_with: str
    error: str | None


@dataclasses.dataclass(frozen=True)
class ResultFolder:
    """``methods/NAME`` of the output.

    Every file is written aside and renamed, the JSON last: what it stands beside is whole.

    Attributes:
        path: The folder.
    """

    path: Path

    def write(
        self,
        case_id: str,
        result: MethodResult,
        scores: Mapping[str, float | None],
        scored_with: str,
    ) -> None:
        """Write one result whole; an older one of the case is replaced."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._facts(case_id).unlink(missing_ok=True)
        self._write_picture(f"{case_id}.png", result.image)
        for ending, mask in (("region", result.region), ("faded", result.faded)):
            self._write_picture(f"{case_id}.{ending}.png", mask)
        found = result.correspondence
        facts = {
            "scores": dict(scores),
            "notes": dict(result.notes),
            "reference_index": result.reference_index,
            "correspondence": None if found is None else found.tolist(),
            "scored_with": scored_with,
        }
        self._write_facts(case_id, facts)

    def write_failure(self, case_id: str, error: str, traceback: str | None) -> None:
        """Write why a case has no result; the next start tries it again."""
        self.path.mkdir(parents=True, exist_ok=True)
        self._write_facts(case_id, {"error": error, "traceback": traceback})

    def scores(self, case_id: str) -> StoredScores | None:
        """Return what is known of a case; None where nothing is, or half a file."""
        facts = self._read_facts(case_id)
        if facts is None:
            return None
        return StoredScores(
            scores=facts.get("scores", {}),
            notes=facts.get("notes", {}),
            scored_with=str(facts.get("scored_with", "")),
            error=facts.get("error"),
        )

    def read(self, case_id: str) -> MethodResult | None:
        """Read a whole result back; None where there is none."""
        facts = self._read_facts(case_id)
        image = self.path / f"{case_id}.png"
        if facts is None or facts.get("error") is not None or not image.is_file():
            return None
        masks = [self.path / f"{case_id}.{ending}.png" for ending in ("region", "faded")]
        region, faded = (read_mask(path) if path.is_file() else None for path in masks)
        found = facts["correspondence"]
        return MethodResult(
            image=read_image(image),
            region=region,
            correspondence=None if found is None else np.asarray(found, np.float32),
            reference_index=int(facts["reference_index"]),
            faded=faded,
            notes=facts["notes"],
        )

    def _facts(self, case_id: str) -> Path:
        return self.path / f"{case_id}.json"

    def _read_facts(self, case_id: str) -> dict[str, Any] | None:
        try:
            facts: Any = json.loads(self._facts(case_id).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # none yet, or half a file of a full disk: it is done again
        return facts if isinstance(facts, dict) else None

    def _write_picture(self, name: str, picture: np.ndarray | None) -> None:
        path = self.path / name
        if picture is None:
            path.unlink(missing_ok=True)
            return
        partial = path.with_name(f".{name}.partial")
        write_png(partial, picture)
        partial.replace(path)

    def _write_facts(self, case_id: str, facts: Mapping[str, object]) -> None:
        write_json(self._facts(case_id), facts)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file aside and rename it; NaN is refused."""
    partial = path.with_name(f".{path.name}.partial")
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)
