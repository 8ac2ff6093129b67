"""A small benchmark with the results of three methods, and the study built of them."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rba.case import Case
from rba.cli import main
from rba.evaluation.benchmark import write_case
from rba.pictures import write_png

METHODS = ("ours", "defect", "other")


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of two tasks."""
    root = tmp_path_factory.mktemp("bench")
    mask = np.zeros((48, 64), bool)
    mask[12:24, 16:32] = True
    for number in range(6):
        rng = np.random.default_rng(number)
        case = Case(
            id=f"case-{number}",
            image=rng.integers(0, 256, (48, 64, 3)).astype(np.uint8),
            artifact_mask=mask,
            references=(rng.integers(0, 256, (40, 40, 3)).astype(np.uint8),),
            reference_masks=(None,),
            task="try_on" if number % 2 else "customization",
            generator="DreamBooth",
        )
        write_case(root / case.id, case)
    return root


@pytest.fixture(scope="session")
def results(bench: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three methods' pictures, as options of the command."""
    root = tmp_path_factory.mktemp("results")
    for place, method in enumerate(METHODS):
        (root / method).mkdir()
        for number in range(6):
            rng = np.random.default_rng(100 * place + number)
            pixels = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
            write_png(root / method / f"case-{number}.png", pixels)
    return [f"{method}={root / method}" for method in METHODS]


@dataclasses.dataclass(frozen=True)
class Study:
    """A built study: its folder, its key, and what the page was given."""

    folder: Path
    key: dict[str, Any]
    data: dict[str, Any]


@pytest.fixture(scope="session")
def build(
    bench: Path, results: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Study]:
    """Return a function that builds a study."""

    def make(*options: str) -> Study:
        folder = tmp_path_factory.mktemp("study") / "study"
        arguments = ["study", "build", "--bench", str(bench), "--output", str(folder)]
        assert main([*arguments, "--results", *results, *options]) == 0
        text = (folder / "page" / "study-data.js").read_text()
        return Study(
            folder,
            json.loads((folder / "key.json").read_text()),
            json.loads(text.removeprefix("window.STUDY = ").removesuffix(";\n")),
        )

    return make


@pytest.fixture(scope="session")
def study(build: Callable[..., Study]) -> Study:
    return build("--raters", "4", "--questions", "6", "--checks", "1")
