"""`rba refine` with several references and defects; the written file is like the original."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rba.cli import main


def test_several_defects_and_references_are_told(
    model_folder: Path,
    photo: np.ndarray,
    write: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[20:36, 30:52] = mask[2:6, 2:8] = 255
    steps = tmp_path / "steps"
    options = {
        "--model": str(model_folder),
        "--image": write("image.png", photo),
        "--mask": write("two.png", mask),
        "--output": str(tmp_path / "refined.png"),
        "--save-intermediates": str(steps),
        "--steps": "1",
        "--device": "cpu",
    }
    references = [write("a.png", photo[:50, :40]), write("b.png", photo[10:, 30:])]
    arguments = [word for pair in options.items() for word in pair]
    assert main(["refine", *arguments, "--reference", *references]) == 0
    said = capsys.readouterr().out
    assert "defect 1: reference" in said
    assert "defect 2: reference" in said
    facts = json.loads((steps / "result.json").read_text())
    assert [defect["artifact_pixels"] for defect in facts["defects"]] == [16 * 22, 24]
    assert all(len(defect["reference_scores"]) == 2 for defect in facts["defects"])
    assert facts["max_change_outside_feathered_mask"] == 0
    assert (steps / "defect_1" / "panel.png").is_file()
    assert (steps / "defect_2" / "correspondence_map.npy").is_file()


def test_the_file_is_like_the_original(typed: Any, photo: np.ndarray, tmp_path: Path) -> None:
    picture = Image.fromarray(photo)
    picture.putalpha(Image.fromarray(photo[..., 0] | 1))
    exif = Image.Exif()
    exif[0x013B] = "A. Person"
    picture.save(tmp_path / "given.png", exif=exif.tobytes())
    assert typed(image=str(tmp_path / "given.png")) == 0
    with Image.open(tmp_path / "refined.png") as refined:
        assert refined.mode == "RGBA"
        assert refined.getexif()[0x013B] == "A. Person"
        after = np.asarray(refined)
    np.testing.assert_array_equal(after[..., 3], np.asarray(picture)[..., 3])
    np.testing.assert_array_equal(after[:3], np.asarray(picture)[:3])
    assert (after != np.asarray(picture))[20:36, 30:52].any()


def test_masks_of_references_are_one_for_each(
    photo: np.ndarray, write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    image = write("image.png", photo)
    words = ["--image", image, "--mask", image, "--model", "tiny", "--output", "out.png"]
    arguments = ["--reference", image, image, "--reference-mask", image]
    assert main(["refine", *words, *arguments]) == 2
    assert "names 1 files for 2 references" in capsys.readouterr().err
