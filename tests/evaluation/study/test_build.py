"""The page and its key: raters learn nothing of methods; equal seeds give equal bytes."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rba.cli import main
from rba.evaluation.study.pictures import mix_tiles
from rba.pictures import read_image, write_png

from .conftest import METHODS, Study


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_page_and_key_are_apart(study: Study) -> None:
    assert sorted(path.name for path in study.folder.iterdir()) == ["key.json", "page"]
    names = {path.name for path in (study.folder / "page").iterdir()}
    assert names == {"index.html", "study.css", "study.js", "study-data.js", "images"}


def test_no_method_or_case_is_named_on_the_page(study: Study) -> None:
    for name, content in files(study.folder / "page").items():
        own = name in ("index.html", "study.css", "study.js")
        for word in (*METHODS, "case-", "DreamBooth", "customization", "right"):
            assert word not in name
            if not own and not name.endswith(".png"):
                assert word not in content.decode()
        if name.startswith("images/"):
            assert re.fullmatch(r"images/[0-9a-f]{16}\.png", name)
            assert b"tEXt" not in content
            assert b"eXIf" not in content


def test_the_page_loads_nothing_from_elsewhere(study: Study) -> None:
    text = "".join(
        content.decode()
        for name, content in files(study.folder / "page").items()
        if not name.endswith(".png")
    )
    assert "http" not in text
    assert not re.search(r"""["'(]//|@import|url\(""", text)


def test_the_pictures_are_those_of_the_key(study: Study, results: list[str]) -> None:
    """Every entry of the page against its line in the key, pixel by pixel."""
    folders = {name: Path(folder) for name, folder in (text.split("=") for text in results)}
    assert len(study.data["plan"]) == 4
    for rater, sheet in enumerate(study.data["plan"], 1):
        assert len(sheet) == 14
        assert [entry["section"] for entry in sheet] == ["realism"] * 7 + ["fidelity"] * 7
        for entry in sheet:
            line = study.key["questions"][entry["id"]]
            assert line["rater"] == rater
            assert (entry["reference"] is not None) == (entry["section"] == "fidelity")
            for file, method in zip(entry["images"], line["shown"], strict=True):
                pixels = read_image(study.folder / "page" / "images" / file)
                if method is None:
                    assert line["right"] is not None
                    continue
                truth = read_image(folders[method] / f"{line['case']}.png")
                assert np.array_equal(pixels, truth)


def test_no_picture_lies_there_for_nothing(study: Study) -> None:
    used = {
        name
        for sheet in study.data["plan"]
        for entry in sheet
        for name in (*entry["images"], entry["reference"])
    }
    there = {path.name for path in (study.folder / "page" / "images").iterdir()}
    assert there == used - {None}


def test_equal_seeds_give_equal_bytes(build: Callable[..., Study], study: Study) -> None:
    options = ["--raters", "4", "--questions", "6", "--checks", "1"]
    assert files(build(*options).folder) == files(study.folder)
    other = build(*options, "--seed", "1")
    assert other.key["study"] != study.key["study"]
    assert not set(other.key["questions"]) & set(study.key["questions"])


def test_sets_frames_and_an_address(build: Callable[..., Study]) -> None:
    study = build("--at-once", "all", "--frame", "--post", "https://example.org/answers")
    assert study.data["post"] == "https://example.org/answers"
    entry = study.data["plan"][0][0]
    assert len(entry["images"]) == 3
    assert entry["box"] == [0.25, 0.25, 0.25, 0.25]


def test_mixed_tiles_are_the_same_tiles_elsewhere() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3)).astype(np.uint8)
    mixed = mix_tiles(image, 0, "a")
    assert np.array_equal(np.sort(mixed, axis=None), np.sort(image, axis=None))
    assert (mixed != image).any(axis=2).mean() > 0.8
    assert np.array_equal(mixed, mix_tiles(image, 0, "a"))
    assert not np.array_equal(mixed, mix_tiles(image, 0, "b"))
    assert mix_tiles(image[:3, :2], 0, "a").shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--results", "a"], "give NAME=DIR"),
        (["--results", "a b=."], "a name of letters and digits"),
        (["--results", "a=.", "a=."], "the name a comes twice"),
        (["--results", "a=nowhere"], "nowhere is not a folder"),
        (["--results", "a=."], "a comparison needs two methods"),
        (["--results", "a=.", "b=.", "--at-once", "x"], "give a number, or all"),
        (["--results", "a=.", "b=.", "--post", "example.org"], "begins with https://"),
        (["--results", "a=.", "b=."], "a and b have no case"),
    ],
)
def test_mistakes_are_refused(
    bench: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", "build", "--bench", str(bench), "--output", "study", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_result_of_another_size_and_a_folder_that_is_there(
    bench: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        write_png(tmp_path / name / "case-0.png", np.zeros((4, 5, 3), np.uint8))
    options = ["--results", f"a={tmp_path / 'a'}", f"b={tmp_path / 'b'}"]
    output = tmp_path / "study"
    arguments = ["study", "build", "--bench", str(bench), "--output", str(output), *options]
    assert main(arguments) == 2
    assert "is 5x4 pixels, the case's image 64x48" in capsys.readouterr().err
    output.mkdir()
    (output / "mine.txt").touch()
    assert main(arguments) == 2
    assert "give a new folder" in capsys.readouterr().err
    assert (output / "mine.txt").exists()


def test_missing_pictures_are_counted(
    bench: Path, results: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for number, end in enumerate(("png", "jpg", "png")):  # a JPEG's name; what it holds is read
        pixels = np.full((48, 64, 3), number, np.uint8)
        write_png(few / f"case-{number}.{end}", pixels)
    options = ["--results", *results[:2], f"few={few}", "--raters", "2"]
    arguments = ["study", "build", "--bench", str(bench), "--output", str(tmp_path / "s")]
    assert main([*arguments, *options]) == 0
    (few / "case-1.png").write_bytes((few / "case-1.jpg").read_bytes())
    again = ["study", "build", "--bench", str(bench), "--output", str(tmp_path / "again")]
    assert main([*again, *options]) == 2
    said = capsys.readouterr()
    assert "case-1.jpg are of one case; delete one" in said.err
    out = said.out
    assert "few: 3 cases have no picture" in out
    assert "ours and few: compared on 3 cases, not 6" in out
