"""``run.json``: what the results in an output folder were made with, so that others are refused."""

import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError
from rba.evaluation.case_set import CaseSet
from rba.evaluation.methods import Method
from rba.evaluation.result_files import write_json

RUN = "run.json"
_PACKAGES = ("refine-by-align", "torch", "diffusers", "transformers", "numpy", "scikit-image")


class RunRecord:
    """The record of one output folder.

    Args:
        output: The folder, which is there.

    Raises:
        InputError: If it holds files and no record: results of something else.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._path = output / RUN
        self._found = self._read()

    def check_bench(
        self, cases: CaseSet, calibration: Mapping[str, Any] | None, split: Sequence[int]
    ) -> None:
        """Refuse another benchmark, another calibration, or another part of the benchmark.

        Args:
            cases: The benchmark.
            calibration: What its calibration depends on; None = the model's own cell.
            split: Numbers of the cases that are reported on.

        Raises:
            InputError: If the folder has results of another.
        """
        self._new = {
            "bench": {"name": cases.root.resolve().name, "digest": cases.digest},
            "calibration": None if calibration is None else dict(calibration),
            "cases": list(split),
        }
        if self._found is None:
            return
        told = {
            "bench": f"another benchmark than {cases.root} (or cases of it were changed)",
            "calibration": "another calibration",
            "cases": "other cases",
        }
        for name, what in told.items():
            if self._found.get(name) != _plain(self._new[name]):
                raise InputError(f"--output {self._output} holds results of {what}{_WAY_OUT}")

    def check_methods(self, methods: Sequence[Method]) -> None:
        """Refuse rows that are there with other settings.

        Raises:
            InputError: Naming the row and the first setting that differs.
        """
        self._settings = {method.name: _plain(dict(method.settings())) for method in methods}
        known = self._known()
        for name, wanted in self._settings.items():
            if name in known and known[name] != wanted:
                raise InputError(
                    f"--output {self._output} holds results of {name} with other settings: "
                    f"{_first_difference(known[name], wanted)}{_WAY_OUT}"
                )

    def write(self, scoring: Mapping[str, object]) -> None:
        """Write the record; rows of earlier starts stay in it.

        Args:
            scoring: Settings of the metrics; results that were scored otherwise are scored again.
        """
        content = {
            **self._new,
            "methods": self._known() | self._settings,
            "scoring": dict(scoring),
            "versions": _versions(),
        }
        write_json(self._path, content)

    def _known(self) -> dict[str, Any]:
        return {} if self._found is None else dict(self._found.get("methods", {}))

    def _read(self) -> dict[str, Any] | None:
        try:
            found: Any = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            others = sorted(path.name for path in self._output.iterdir())
            if [name for name in others if not name.endswith(".partial")]:
                raise InputError(
                    f"--output {self._output} holds other files ({others[0]}) and no {RUN}; give "
                    "a new folder"
                ) from None
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{self._path} is not readable JSON: {error}{_WAY_OUT}") from error
        if not isinstance(found, dict):
            raise InputError(f"{self._path} is no record of a run{_WAY_OUT}")
        return found


_WAY_OUT = "; give another --output, or remove this one"


def _plain(content: Any) -> Any:
    """Return what JSON makes of it, for comparing with what was read."""
    return json.loads(json.dumps(content))


def _first_difference(known: Any, wanted: Any, name: str = "") -> str:
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in sorted(set(known) | set(wanted)):
            if known.get(key) != wanted.get(key):
                inner = f"{name}.{key}" if name else key
                return _first_difference(known.get(key), wanted.get(key), inner)
    return f"{name} was {_short(known)}, now {_short(wanted)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:36] + '..."'


def _versions() -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}
