"""Cases on disk: round trips and every mistake a person can make."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rba.case import Case
from rba.errors import InputError
from rba.evaluation.benchmark import (
    read_benchmark,
    read_case,
    write_case,
)
from rba.pictures import write_png


def make_case(name: str = "a", references: int = 1) -> Case:
    rng = np.random.default_rng(0)

    def picture(height: int, width: int) -> np.ndarray:
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)

    mask = np.zeros((20, 30), bool)
    mask[3:6, 4:9] = True
    return Case(
        id=name,
        image=picture(20, 30),
        artifact_mask=mask,
        references=tuple(picture(12 + index, 17) for index in range(references)),
        reference_masks=tuple(
            None if index == 0 else rng.random((12 + index, 17)) > 0.5
            for index in range(references)
        ),
        truth=picture(20, 30),
        correspondence_mask=(rng.integers(0, 256, (12, 17)) / 255).astype(np.float32),
        task="customization",
        generator="DreamBooth",
        metadata={"prompt": "a bag", "seed": 3},
    )


def assert_equal(first: Case, second: Case) -> None:
    for field in dataclasses.fields(Case):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, tuple):
            assert len(one) == len(two)
            for a, b in zip(one, two, strict=True):
                np.testing.assert_array_equal(a, b)
        elif isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, two)
        else:
            assert one == two


@pytest.mark.parametrize("references", [1, 3, 102])
def test_round_trip(tmp_path: Path, references: int) -> None:
    case = make_case(references=references)
    write_case(tmp_path / "a", case)
    assert_equal(read_case(tmp_path / "a"), case)


def test_only_what_is_needed(tmp_path: Path) -> None:
    case = dataclasses.replace(make_case(), truth=None, correspondence_mask=None)
    write_case(tmp_path / "a", case)
    (tmp_path / "a" / "case.json").write_text("{}")
    read = read_case(tmp_path / "a")
    assert read.id == "a"
    assert read.truth is None
    assert read.correspondence_mask is None


def test_labels_0_and_1_are_read_as_a_mask(tmp_path: Path) -> None:
    case = make_case()
    write_case(tmp_path / "a", case)
    labels = np.zeros((12, 17), np.uint8)
    labels[2:4] = 1
    write_png(tmp_path / "a" / "correspondence.png", labels)
    read = read_case(tmp_path / "a").correspondence_mask
    assert read is not None
    assert np.array_equal(read, labels.astype(np.float32))


def test_an_earlier_case_leaves_nothing_behind(tmp_path: Path) -> None:
    write_case(tmp_path / "a", make_case(references=3))
    (tmp_path / "a" / "notes.txt").write_text("mine")
    small = dataclasses.replace(
        make_case(), truth=None, correspondence_mask=None, metadata={"prompt": "un été à 東京"}
    )
    write_case(tmp_path / "a", small)
    assert_equal(read_case(tmp_path / "a"), small)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 2**32 - 1),
    task=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    metadata=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    ),
)
@settings(max_examples=10, deadline=None)
def test_any_case_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int],
    seed: int,
    task: str,
    metadata: dict[str, object],
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) > 0.5
    mask[0, 0] = True
    soft = rng.integers(0, 256, shape).astype(np.uint8)
    soft[-1, -1] = rng.integers(2, 256)
    case = Case(
        id="a",
        image=rng.integers(0, 256, (*shape, 3)).astype(np.uint8),
        artifact_mask=mask,
        references=(rng.integers(0, 256, (*shape, 3)).astype(np.uint8),),
        reference_masks=(rng.random(shape) > 0.5,),
        correspondence_mask=soft.astype(np.float32) / 255,
        task=task,
        metadata=metadata,
    )
    folder = tmp_path_factory.mktemp("case")
    write_case(folder, case)
    assert_equal(read_case(folder), case)


def test_an_empty_match_is_not_written(tmp_path: Path) -> None:
    case = dataclasses.replace(make_case(), correspondence_mask=np.zeros((12, 17), np.float32))
    with pytest.raises(InputError, match="leave it out"):
        write_case(tmp_path / "a", case)
    assert not (tmp_path / "a").exists()


def test_a_benchmark_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        write_case(tmp_path / name, make_case(name))
    assert [case.id for case in read_benchmark(tmp_path)] == ["a", "b", "c"]
    write_case(tmp_path / "b", make_case("a"))
    with pytest.raises(InputError, match="same id 'a'"):
        list(read_benchmark(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("case.json", "[]", "must hold an object"),
        ("case.json", "{", "not readable JSON"),
        ("case.json", json.dumps({"metadata": 3}), "must hold an object"),
        ("case.json", json.dumps({"prompt": "x"}), "unknown keys .'prompt'."),
        ("case.json", json.dumps({"id": 3}), "id is 3; give a text"),
        ("case.json", json.dumps({"task": ""}), "task is ''; give a text"),
        ("image.png", "no picture", "image.png cannot be read"),
        ("reference_mask_07.png", "", "belongs to no reference"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, file: str, content: str, message: str) -> None:
    write_case(tmp_path / "a", make_case())
    (tmp_path / "a" / file).write_text(content)
    with pytest.raises(InputError, match=message):
        read_case(tmp_path / "a")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        list(read_benchmark(tmp_path / "no"))
    with pytest.raises(InputError, match="holds no case"):
        list(read_benchmark(tmp_path))
    write_case(tmp_path / "a", make_case())
    (tmp_path / "a" / "reference.png").unlink()
    with pytest.raises(InputError, match="at least one"):
        read_case(tmp_path / "a")
    (tmp_path / "a" / "case.json").unlink()
    with pytest.raises(InputError, match=r"case\.json does not exist"):
        read_case(tmp_path / "a")


def test_sizes_that_disagree_are_refused(tmp_path: Path) -> None:
    write_case(tmp_path / "a", make_case())
    write_png(tmp_path / "a" / "mask.png", np.ones((5, 5), bool))
    with pytest.raises(InputError, match="5x5"):
        read_case(tmp_path / "a")
