"""`rba refine` with mistakes in it: one line and status 2, mostly before the model is opened."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from rba.inference import command as refining

Write = Callable[..., str]
Hole = Callable[..., np.ndarray]
Refusal = Callable[..., str]


def no_model(*_: object) -> None:
    pytest.fail("the model was opened before the mistake was found")


@pytest.mark.parametrize("option", ["image", "mask", "reference", "reference_mask"])
@pytest.mark.parametrize("problem", ["missing", "folder", "text", "empty", "cut"])
def test_an_unreadable_picture_is_named(
    refusal: Refusal, tmp_path: Path, monkeypatch: Any, option: str, problem: str
) -> None:
    monkeypatch.setattr(refining.RefineByAlignPipeline, "open", no_model)
    path = tmp_path / f"{problem}.png"
    if problem == "folder":
        path.mkdir()
    elif problem != "missing":
        whole = (tmp_path / "image.png").read_bytes()
        contents = {"text": b"not a picture", "empty": b"", "cut": whole[: len(whole) // 2]}
        path.write_bytes(contents[problem])
    assert str(path) in refusal(**{option: str(path)})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": "0"}, "0 sampler steps"),
        ({"steps": "-3"}, "-3 sampler steps"),
        ({"guidance_scale": "nan"}, "nan"),
        ({"guidance_scale": "inf"}, "inf"),
        ({"seed": "-1"}, "seed -1"),
        ({"seed": str(2**70)}, "2**63"),
        ({"device": "abacus"}, "--device abacus"),
        ({"device": "meta"}, "--device meta"),
        ({"device": ""}, "--device"),
        ({"output": "no/such/folder/x.png"}, "no/such/folder"),
        ({"output": "refined"}, "use .png"),
        ({"output": "refined.psd"}, ".psd"),
        ({"output": "."}, "use .png"),
    ],
    ids=str,
)
def test_bad_options_are_refused_before_the_model_is_opened(
    refusal: Refusal, monkeypatch: Any, changes: dict[str, str], words: str
) -> None:
    monkeypatch.setattr(refining.RefineByAlignPipeline, "open", no_model)
    assert words in refusal(**changes)


def test_outputs_that_stand_in_the_way(refusal: Refusal, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(refining.RefineByAlignPipeline, "open", no_model)
    (tmp_path / "folder.png").mkdir()
    assert "is a folder" in refusal(output=str(tmp_path / "folder.png"))
    file = str(tmp_path / "image.png")
    assert "--save-intermediates" in refusal(save_intermediates=file)
    assert "--save-intermediates" in refusal(save_intermediates=f"{file}/inside")


def test_masks_that_mark_nothing_or_something_else(
    refusal: Refusal, monkeypatch: Any, write: Write, photo: np.ndarray, hole: Hole
) -> None:
    monkeypatch.setattr(refining.RefineByAlignPipeline, "open", no_model)
    assert "artifact mask is empty" in refusal(mask=write("none.png", hole(value=0)))
    assert "brightest pixel is 90" in refusal(mask=write("dark.png", hole(value=90)))
    assert "40x30" in refusal(mask=write("small.png", np.full((30, 40), 255, np.uint8)))
    other = refusal(reference_mask=write("other.png", np.full((30, 40), 255, np.uint8)))
    assert "40x30" in other
    assert "reference's size" in other
    nothing = np.zeros((50, 40), np.uint8)
    assert "marks no object" in refusal(reference_mask=write("nothing.png", nothing))
    clear = write("clear.png", np.dstack([photo, np.zeros((70, 90), np.uint8)]))
    assert "wholly transparent" in refusal(image=clear)
    assert "alpha channel" in refusal(reference=clear)


def test_more_steps_than_the_schedule_has(refusal: Refusal) -> None:
    assert "allows 1 to 1000" in refusal(steps="1001")


def test_a_picture_too_wide_for_its_format(refusal: Refusal, write: Write, tmp_path: Path) -> None:
    image, mask = np.zeros((2, 17000, 3), np.uint8), np.zeros((2, 17000), np.uint8)
    mask[:, 20:40] = 255
    given = {"image": write("wide.png", image), "mask": write("wide-mask.png", mask)}
    assert "17000x2" in refusal(**given, output=str(tmp_path / "wide.webp"))
    assert not list(tmp_path.glob("*.webp"))


def without_weights(folder: Path) -> None:
    (folder / "encoder" / "model.safetensors").unlink()


def with_half_a_file(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def with_a_tensor_less(folder: Path) -> None:
    path = folder / "encoder" / "model.safetensors"
    state = load_file(path)
    del state["layernorm.weight"]
    save_file(state, path, {"format": "pt"})


def with_a_nan(folder: Path) -> None:
    path = folder / "connector" / "diffusion_pytorch_model.safetensors"
    save_file({k: v * float("nan") for k, v in load_file(path).items()}, path)


def with_broken_json(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("{")


def without_scheduler(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without_weights, "holds no weights"),
        (with_half_a_file, "is damaged"),
        (with_a_tensor_less, "layernorm.weight"),
        (with_a_nan, "not finite"),
        (with_broken_json, "config.json is damaged"),
        (without_scheduler, "scheduler"),
        (shutil.rmtree, "not a model directory"),
    ],
)
def test_a_damaged_model_directory_is_refused_not_filled_with_noise(
    refusal: Refusal,
    model_folder: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    words: str,
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    damage(broken)
    assert words in refusal(model=str(broken))
    assert not (tmp_path / "refined.png").exists()
