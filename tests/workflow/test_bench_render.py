"""The synthetic benchmark: exact truth, equal bytes, a hard split that training never saw."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rba.errors import InputError
from rba.evaluation.benchmark import read_benchmark
from rba.evaluation.rendered_bench import BenchRenderer, spread_count
from rba.rendering.glyphs import glyphs_of
from rba.rendering.textures import load_textures
from rba.settings import compose_config, plain
from rba.workflow.bench_render import BenchRenderCommand, bench_settings, run_bench_render

SMALL = ("supersampling=1",)


def command(output: Path, **options: object) -> BenchRenderCommand:
    values = {"count": 4, "size": 64, "overrides": SMALL, **options}
    return BenchRenderCommand(output=str(output), **values)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "set"
    run_bench_render(command(folder))
    return folder


def test_each_kind_has_exact_truth(bench: Path) -> None:
    cases = list(read_benchmark(bench))
    assert [case.task for case in cases] == [
        "composition",
        "customization",
        "try_on",
        "view_synthesis",
    ]
    for case in cases:
        assert case.truth is not None
        assert case.correspondence_mask is not None
        outside = ~case.artifact_mask
        np.testing.assert_array_equal(case.image[outside], case.truth[outside])
        change = np.abs(case.image.astype(int) - case.truth)[case.artifact_mask]
        assert change.mean() >= 22
        region, object_mask = case.correspondence_mask >= 0.5, case.reference_masks[0]
        assert region.any()
        assert object_mask is not None
        assert object_mask[region].all()


def test_another_process_writes_the_same_bytes(bench: Path, tmp_path: Path) -> None:
    words = f"bench render --output {tmp_path / 'set'} --count 4 --size 64 {SMALL[0]}".split()
    done = subprocess.run(
        [sys.executable, "-m", "rba.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "4 groups in" in done.stdout
    assert contents(tmp_path / "set") == contents(bench)


def test_a_set_that_was_begun_goes_on(bench: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(bench, folder)
    shutil.rmtree(folder / "try_on-0000")
    (folder / ".try_on-0000.part").mkdir()
    (folder / ".try_on-0000.part" / "case.json").write_text("{}")
    kept = (folder / "composition-0000" / "image.png").stat().st_mtime_ns
    run_bench_render(command(folder))
    assert contents(folder) == contents(bench)
    assert (folder / "composition-0000" / "image.png").stat().st_mtime_ns == kept


def test_a_group_does_not_depend_on_how_many_there_are(bench: Path) -> None:
    renderer = BenchRenderer(bench_settings(command(bench, count=60)))
    case = renderer.render("composition", 0)
    stored = next(read_benchmark(bench))
    np.testing.assert_array_equal(case.image, stored.image)
    other = renderer.render("composition", 7)
    assert not np.array_equal(other.artifact_mask, stored.artifact_mask)


def test_the_hard_split_shares_nothing_with_training() -> None:
    trained = plain(compose_config("data_tools/render_objects", ["out=x"]))["shapes"]
    kinds = plain(compose_config("bench/render"))["kinds"].values()
    shapes = {shape for kind in kinds for shape in kind["shapes"]["hard"]}
    assert shapes
    assert shapes.isdisjoint(trained)
    assert shapes.isdisjoint(shape for kind in kinds for shape in kind["shapes"]["easy"])
    split = bench_settings(command(Path("x"), split="hard")).split
    assert set(load_textures(None, split)).isdisjoint(load_textures(None, "train"))
    hard, train = glyphs_of(split), glyphs_of("train")
    assert set(hard.letters).isdisjoint(train.letters)
    assert set(hard.corners).isdisjoint(train.corners)


@pytest.mark.parametrize("total", [1, 4, 7, 146, 1000])
def test_groups_are_shared_out_in_proportion(total: int) -> None:
    counts = {"a": 37, "b": 37, "c": 36, "d": 36}
    spread = spread_count(counts, total)
    assert sum(spread.values()) == total
    assert all(abs(spread[kind] - total * counts[kind] / 146) < 1 for kind in counts)


def test_the_whole_set_has_146_groups() -> None:
    counts = bench_settings(command(Path("x"), count=None)).counts
    assert sum(counts.values()) == 146
    assert len(counts) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "harder"}, "--split harder: give one of easy, hard"),
        ({"count": 0}, "0 groups"),
        ({"size": 8}, "size 8: give 48 to 2048"),
        ({"overrides": ("kinds.try_on.image.fill=[0.5,2.0]",)}, "fill"),
        ({"overrides": ("nonsense=1",)}, "nonsense"),
        ({"overrides": ("defects=[melted]",)}, "melted"),
        ({"overrides": ("kinds.try_on.shapes.easy=[box,cloth]",)}, "give one or more of"),
        ({"overrides": ("kinds.try_on.image.others=[1,1]",)}, "others"),
        ({"textures": "missing"}, "missing is not a folder"),
    ],
)
def test_mistakes_are_named_at_the_start(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        run_bench_render(command(tmp_path / "set", **options))
    assert not (tmp_path / "set").exists()


def test_a_folder_of_other_settings_is_refused(bench: Path, tmp_path: Path) -> None:
    before = contents(bench)
    with pytest.raises(InputError, match=r"other settings .*seed 0 there, 1 now"):
        run_bench_render(command(bench, seed=1))
    assert contents(bench) == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"):
        run_bench_render(command(tmp_path))
