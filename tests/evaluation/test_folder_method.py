"""Another tool's pictures as a row: taken as they are, missing ones counted, misfits refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rba.errors import InputError
from rba.evaluation.case_set import CaseSet, open_case_set
from rba.evaluation.folder_method import FolderMethod
from rba.evaluation.methods import FALLBACK
from rba.pictures import write_png


@pytest.fixture(scope="module")
def cases(bench: Path) -> CaseSet:
    return open_case_set(bench)


@pytest.fixture
def folder(cases: CaseSet, tmp_path: Path) -> Path:
    """Pictures of the first two cases: a PNG, and a JPEG that its EXIF turns upright."""
    height, width = cases.cases[0].size
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    write_png(tmp_path / f"{cases.cases[0].id}.png", pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / f"{cases.cases[1].id}.jpg", exif=exif)
    (tmp_path / "notes.txt").write_text("not looked at")
    return tmp_path


def test_pictures_are_taken_and_missing_ones_are_fallbacks(cases: CaseSet, folder: Path) -> None:
    method = FolderMethod("theirs", folder, cases.cases)
    read = [cases.read(facts) for facts in cases.cases[:3]]
    first, second, third = method.run(read, [0, 1, 2])
    with Image.open(folder / f"{cases.cases[0].id}.png") as picture:
        assert np.array_equal(first.image, np.asarray(picture))
    assert second.image.shape == read[1].image.shape
    assert FALLBACK not in first.notes
    assert np.array_equal(third.image, read[2].image)
    assert "no picture of this case" in str(third.notes[FALLBACK])
    assert method.settings()["pictures"] == 2


def test_settings_change_with_the_pictures(cases: CaseSet, folder: Path) -> None:
    before = FolderMethod("theirs", folder, cases.cases).settings()
    path = folder / f"{cases.cases[0].id}.png"
    write_png(path, np.zeros((*cases.cases[0].size, 3), np.uint8))
    assert FolderMethod("theirs", folder, cases.cases).settings() != before


def test_a_picture_of_another_size_is_named(cases: CaseSet, folder: Path) -> None:
    path = folder / f"{cases.cases[0].id}.png"
    write_png(path, np.zeros((7, 9, 3), np.uint8))
    with pytest.raises(InputError, match=rf"{path.name} is 9x7 pixels, the case's image 96x96"):
        FolderMethod("theirs", folder, cases.cases)


def test_other_mistakes(cases: CaseSet, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--results theirs=.*no such folder"):
        FolderMethod("theirs", tmp_path / "none", cases.cases)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"such as {cases.cases[0].id}.png"):
        FolderMethod("theirs", tmp_path / "empty", cases.cases)
    (folder / f"{cases.cases[2].id}.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="is no picture"):
        FolderMethod("theirs", folder, cases.cases)
    (folder / f"{cases.cases[0].id}.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="keep one"):
        FolderMethod("theirs", folder, cases.cases)
