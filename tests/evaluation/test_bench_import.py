"""``rba bench import``: each generator's naming, on made folders."""

from pathlib import Path

import numpy as np
import pytest

from rba.case import Case
from rba.cli import main
from rba.evaluation.bench_check import check_benchmark
from rba.evaluation.benchmark import read_benchmark
from rba.pictures import write_png


def picture(path: Path, seed: int, height: int = 24, width: int = 20) -> np.ndarray:
    """Write a picture of noise; the file is PNG whatever its name says, so it stays exact."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, pixels)
    return pixels


def mask(path: Path, height: int = 24, width: int = 20, top: int = 2) -> np.ndarray:
    marked = np.zeros((height, width), bool)
    marked[top : top + 3, 4:9] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, marked)
    return marked


def imported(tmp_path: Path, kind: str, *options: str) -> dict[str, Case]:
    """Import ``tmp_path/out`` (or the table) and read the cases back."""
    source = tmp_path / ("cases.csv" if kind == "csv" else "out")
    target = tmp_path / "bench"
    arguments = ["bench", "import", str(source), "--from", kind, "--output", str(target)]
    assert main([*arguments, *options]) == 0
    assert check_benchmark(target).problems == []
    return {case.id: case for case in read_benchmark(target)}


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, *options: str) -> str:
    """Import, which must be refused before anything is written; return what is said."""
    source = tmp_path / ("cases.csv" if kind == "csv" else "out")
    target = tmp_path / "bench"
    arguments = ["bench", "import", str(source), "--from", kind, "--output", str(target)]
    assert main([*arguments, *options]) == 2
    assert not target.exists() or not list(target.iterdir())
    return capsys.readouterr().err


def test_dreambooth_with_a_folder_a_subject(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(tmp_path / "out/dog/beach/0.png", 0)
    marked = mask(tmp_path / "out/dog/beach/0_mask.png")
    match = mask(tmp_path / "out/dog/beach/0_correspondence.png", 10, 12, top=1)
    picture(tmp_path / "out/dog/beach/1.png", 1)
    picture(tmp_path / "out/cat/2.png", 2)
    mask(tmp_path / "out/cat/2_mask.png")
    picture(tmp_path / f"out/dog/7-{'0a' * 20}.jpg", 3)
    photos = [picture(tmp_path / f"photos/dog/0{n}.jpg", 4 + n, 10, 12) for n in range(2)]
    seen = mask(tmp_path / "photos/dog/01_mask.png", 10, 12)
    cases = imported(tmp_path, "dreambooth", "--references", str(tmp_path / "photos"))
    assert list(cases) == ["dreambooth-dog-beach-0"]
    case = cases["dreambooth-dog-beach-0"]
    assert (case.task, case.generator) == ("customization", "DreamBooth")
    assert np.array_equal(case.image, image)
    assert np.array_equal(case.artifact_mask, marked)
    assert all(np.array_equal(a, b) for a, b in zip(case.references, photos, strict=True))
    assert case.reference_masks[0] is None
    assert np.array_equal(case.reference_masks[1], seen)  # pyright: ignore
    assert np.array_equal(case.correspondence_mask, match.astype(np.float32))  # pyright: ignore
    assert case.metadata == {"source": "dog/beach/0.png", "subject": "dog"}
    out = capsys.readouterr().out
    assert "wrote 1 cases" in out
    assert "left out: 3" in out
    assert "no artifact mask" in out
    assert "dog/beach/1.png" in out
    assert "class picture" in out
    assert "no photo of the subject" in out


def test_dreambooth_in_one_folder(tmp_path: Path) -> None:
    """``image_0.png`` as diffusers saves it beside the weights; masks in a folder of their own."""
    for number in range(2):
        picture(tmp_path / f"out/image_{number}.png", number)
    (tmp_path / "out/unet").mkdir()
    (tmp_path / "out/unet/config.json").write_text("{}")
    mask(tmp_path / "masks/image_0.png")
    mask(tmp_path / "masks/image_1_mask.png", top=5)
    picture(tmp_path / "photos/a.jpg", 5)
    options = ["--references", str(tmp_path / "photos"), "--masks", str(tmp_path / "masks")]
    cases = imported(tmp_path, "dreambooth", *options, "--task", "style", "--generator", "DB-LoRA")
    assert list(cases) == ["dreambooth-image_0", "dreambooth-image_1"]
    assert {(case.task, case.generator) for case in cases.values()} == {("style", "DB-LoRA")}


def test_zero123plus_is_cut_into_views(tmp_path: Path) -> None:
    grid = picture(tmp_path / "out/bag.png", 0, 960, 640)
    given = picture(tmp_path / "given/bag.png", 1)
    first = mask(tmp_path / "out/bag_0_mask.png", 320, 320)
    last = mask(tmp_path / "out/bag_5_mask.png", 320, 320, top=9)
    match = mask(tmp_path / "out/bag_5_correspondence.png")
    cases = imported(tmp_path, "zero123plus", "--references", str(tmp_path / "given"))
    assert list(cases) == ["zero123plus-bag-0", "zero123plus-bag-5"]
    one, six = cases.values()
    assert np.array_equal(one.image, grid[:320, :320])
    assert np.array_equal(six.image, grid[640:, 320:])
    assert np.array_equal(one.artifact_mask, first)
    assert np.array_equal(six.artifact_mask, last)
    assert np.array_equal(six.references[0], given)
    assert one.correspondence_mask is None
    assert np.array_equal(six.correspondence_mask, match.astype(np.float32))  # pyright: ignore
    assert (six.task, six.generator) == ("view_synthesis", "Zero123++")
    assert six.metadata == {"source": "bag.png", "view": 5, "azimuth_degrees": 330}


def test_zero123plus_with_a_mask_over_all_views(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``original.png`` and ``output0.jpg``, as its prediction script calls them."""
    picture(tmp_path / "out/output0.png", 0, 960, 640)
    picture(tmp_path / "out/original.png", 1)
    picture(tmp_path / "out/small.png", 1)
    whole = mask(tmp_path / "out/output0_mask.png", 960, 640, top=400)  # in the third view only
    cases = imported(tmp_path, "zero123plus")
    assert list(cases) == ["zero123plus-output0-2"]
    assert np.array_equal(cases["zero123plus-output0-2"].artifact_mask, whole[320:640, :320])
    assert "not the 640x960 pixels of six views" in capsys.readouterr().out


def test_zero123plus_refuses_two_guesses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "out/bag.png", 0, 960, 640)
    picture(tmp_path / "out/original.png", 1)
    picture(tmp_path / "out/bag_reference.png", 1)
    mask(tmp_path / "out/bag_mask.png", 960, 640)
    assert "may belong to" in refused(tmp_path, capsys, "zero123plus")
    (tmp_path / "out/original.png").unlink()
    mask(tmp_path / "out/bag_0_mask.png", 320, 320)
    assert "masks of single ones; keep one kind" in refused(tmp_path, capsys, "zero123plus")


def test_anydoor_is_cut_into_panels(tmp_path: Path) -> None:
    row = picture(tmp_path / "out/00891_00.jpg", 0, 40, 90)
    marked = mask(tmp_path / "out/00891_00_mask.png", 40, 30)
    cases = imported(tmp_path, "anydoor", "--first-panel", "equal")
    case = cases["anydoor-00891_00"]
    assert (case.task, case.generator) == ("composition", "AnyDoor")
    assert np.array_equal(case.references[0], row[:, :30])
    assert np.array_equal(case.image, row[:, 60:])
    assert np.array_equal(case.artifact_mask, marked)


def test_anydoor_with_a_square_reference_and_its_original(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = picture(tmp_path / "out/gen_res.png", 0, 40, 90)  # 40 + 25 + 25, or 30 + 30 + 30
    mask(tmp_path / "out/gen_res_mask.png", 40, 25)
    original = picture(tmp_path / "objects/gen_res.png", 3)
    assert "say --first-panel" in refused(tmp_path, capsys, "anydoor")
    options = ["--first-panel", "square", "--references", str(tmp_path / "objects")]
    case = imported(tmp_path, "anydoor", *options)["anydoor-gen_res"]
    assert np.array_equal(case.image, row[:, 65:])
    assert np.array_equal(case.references[0], original)


def test_anydoor_takes_the_only_possible_panels(tmp_path: Path) -> None:
    picture(tmp_path / "out/a.png", 0, 30, 90)  # both say three of 30
    mask(tmp_path / "out/a_mask.png", 30, 30)
    picture(tmp_path / "out/b.png", 0, 30, 70)  # 30 + 20 + 20
    mask(tmp_path / "out/b_mask.png", 30, 20)
    picture(tmp_path / "out/c.png", 0, 32, 63)  # 21 + 21 + 21
    mask(tmp_path / "out/c_mask.png", 32, 21)
    picture(tmp_path / "out/d.png", 0, 32, 65)
    assert len(imported(tmp_path, "anydoor")) == 3


@pytest.fixture
def viton(tmp_path: Path) -> Path:
    """Results of two persons, and VITON-HD's folders."""
    for seed, name in enumerate(("p1_00", "p2_00")):
        picture(tmp_path / f"out/{name}.jpg", seed)
        mask(tmp_path / f"out/{name}_mask.png")
        picture(tmp_path / f"viton/test/cloth/{name}.jpg", 10 + seed)
        mask(tmp_path / f"viton/test/cloth-mask/{name}.jpg")
        mask(tmp_path / f"viton/test/agnostic-mask/{name}_mask.png", top=9)
    (tmp_path / "viton/test_pairs.txt").write_text("p1_00.jpg p2_00.jpg\np2_00.jpg p1_00.jpg\n")
    return tmp_path


def test_idm_vton_asks_whose_garment_it_is(viton: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--references", str(viton / "viton")]
    assert "say --pairs paired" in refused(viton, capsys, "idm_vton", *options)


@pytest.mark.parametrize(("pairs", "garment"), [("paired", 10), ("unpaired", 11)])
def test_idm_vton(viton: Path, pairs: str, garment: int) -> None:
    options = ["--references", str(viton / "viton"), "--pairs", pairs]
    case = imported(viton, "idm_vton", *options)["idm_vton-p1_00"]
    assert (case.task, case.generator) == ("try_on", "IDM-VTON")
    assert np.array_equal(case.references[0], picture(viton / "again.png", garment))
    assert case.reference_masks[0] is not None
    assert case.metadata["garment"] == f"p{garment - 9}_00.jpg"


def test_idm_vton_takes_the_agnostic_masks_where_it_is_told_to(viton: Path) -> None:
    options = ["--references", str(viton / "viton/test"), "--pairs", "paired"]
    masks = ["--masks", str(viton / "viton/test/agnostic-mask")]
    case = imported(viton, "idm_vton", *options, *masks)["idm_vton-p2_00"]
    assert case.artifact_mask[9].any()
    assert not case.artifact_mask[2].any()


def test_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "a/image.png", 0)
    marked = mask(tmp_path / "a/m.png")
    photos = [picture(tmp_path / f"a/r{n}.png", 1 + n) for n in range(2)]
    seen = mask(tmp_path / "a/o.png")
    clean = picture(tmp_path / "a/clean.png", 5)
    (tmp_path / "cases.csv").write_text(
        "id,image,mask,reference,reference_mask,correspondence,truth,task,generator\n"
        "one,a/image.png,a/m.png,a/r0.png;a/r1.png,;a/o.png,a/o.png,a/clean.png,try_on,Mine\n"
        ",a/image.png,a/m.png,a/r0.png,,,,,\n"
        "gone,a/no.png,a/m.png,a/r0.png,,,,,\n"
        "ONE,a/image.png,a/m.png,a/r0.png,,,,,\n"
        "x/y,a/image.png,a/m.png,a/r0.png,,,,,\n"
        "less,a/image.png,a/m.png,a/r0.png;a/r1.png,a/o.png,,,,\n"
        "empty,a/image.png,,a/r0.png,,,,,\n"
    )
    output = tmp_path / "bench"
    arguments = ["bench", "import", str(tmp_path / "cases.csv"), "--from", "csv"]
    assert main([*arguments, "--output", str(output), "--task", "composition"]) == 0
    cases = {case.id: case for case in read_benchmark(output)}
    assert list(cases) == ["image", "one"]
    case = cases["one"]
    assert (case.task, case.generator) == ("try_on", "Mine")
    assert np.array_equal(case.artifact_mask, marked)
    assert all(np.array_equal(a, b) for a, b in zip(case.references, photos, strict=True))
    assert case.reference_masks[0] is None
    assert np.array_equal(case.reference_masks[1], seen)  # pyright: ignore
    assert np.array_equal(case.truth, clean)  # pyright: ignore
    assert (cases["image"].task, cases["image"].generator) == ("composition", "unknown")
    out = capsys.readouterr().out
    assert "wrote 2 cases" in out
    for reason in ("a/no.png does not exist", "taken by image.png", "no file name"):
        assert reason in out
    assert "leave gaps between semicolons" in out
    assert "its mask is empty" in out
    assert main([*arguments, "--output", str(output)]) == 2  # all are there already
    assert "the folder from before; delete it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("image,mask", "has no column reference"),
        ("image,mask,reference,prompt", "has the column 'prompt'; known are id, image"),
    ],
)
def test_a_table_of_other_columns_is_refused(
    tmp_path: Path, header: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.csv").write_text(f"{header}\n")
    assert message in refused(tmp_path, capsys, "csv")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("dreambooth", [], "--references is missing"),
        ("idm_vton", [], "--references is missing; give VITON-HD's folder"),
        ("idm_vton", ["--references", "."], "holds no test/cloth"),
        ("anydoor", ["--pairs", "paired"], "--pairs is for --from idm_vton"),
        ("anydoor", ["--masks", "nowhere"], "--masks nowhere is not a folder"),
        ("anydoor", [], "two_mask.jpg; keep one, or say where to look with --masks"),
    ],
)
def test_mistakes_are_refused(
    tmp_path: Path,
    kind: str,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture(tmp_path / "out/two.png", 0, 30, 90)
    for name in ("two_mask.png", "two_mask.jpg"):
        mask(tmp_path / f"out/{name}", 30, 30)
    said = refused(tmp_path, capsys, kind, *options)
    assert message in said.replace("two_mask.png", "two_mask.jpg")


def test_a_mask_of_another_size_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "out/a.png", 0, 30, 90)
    mask(tmp_path / "out/a_mask.png", 30, 90)
    source, output = str(tmp_path / "out"), str(tmp_path / "bench")
    assert main(["bench", "import", source, "--from", "anydoor", "--output", output]) == 2
    said = capsys.readouterr()
    assert "the mask is 90x30 pixels, the image 30x30" in said.out
    assert "no case could be made" in said.err
