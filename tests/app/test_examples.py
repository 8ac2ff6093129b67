"""The examples that come with the package: small, of clean origin, and made by their command."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from rba.app.examples import FOLDER, load_examples
from rba.pictures import read_image, read_mask
from rba.rendering.textures import WHEEL_HELDOUT
from rba.settings import CONFIG_FOLDER, compose_config


def test_examples_are_small_and_say_where_their_photographs_are_from() -> None:
    folders = sorted(path.parent for path in FOLDER.glob("*/case.json"))
    assert len(folders) == 3
    for folder in folders:
        assert max(path.stat().st_size for path in folder.iterdir()) < 100_000
        facts = json.loads((folder / "case.json").read_text())
        assert set(facts["photographs"]) <= WHEEL_HELDOUT
        assert {item["licence"] for item in facts["photographs"].values()} <= {
            "CC0",
            "public domain",
        }
    for example in load_examples():
        assert example.mask.shape == example.picture.size
        assert 0.001 < example.mask.mean() < 0.05
        assert example.reference.object_mask is not None
        card = example.card()
        assert card.shape[1] > 2 * card.shape[0]
    assert load_examples(Path("nowhere")) == ()


def test_the_command_makes_the_examples_that_are_shipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = CONFIG_FOLDER.parent / "data_tools" / "render_examples.py"
    spec = importlib.util.spec_from_file_location("render_examples", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(compose_config("data_tools/render_examples", [f"out={tmp_path / 'examples'}"]))
    assert "Ball with a brick pattern" in capsys.readouterr().out
    made = sorted((tmp_path / "examples").iterdir())
    shipped = sorted(path.parent for path in FOLDER.glob("*/case.json"))
    assert [path.name for path in made] == [path.name for path in shipped]
    for mine, theirs in zip(made, shipped, strict=True):
        assert (mine / "case.json").read_text() == (theirs / "case.json").read_text()
        for name in ("mask.png", "reference_mask.png"):
            assert np.mean(read_mask(mine / name) != read_mask(theirs / name)) < 0.001
        for name in ("image.png", "reference.png"):
            first, second = read_image(mine / name), read_image(theirs / name)
            # Other processors round a few pixels otherwise.
            assert np.abs(first.astype(int) - second).mean() < 0.5
