"""A benchmark folder as the runner walks it: facts, parts, wrong references, mistakes."""

import shutil
from pathlib import Path

import pytest

from rba.errors import InputError
from rba.evaluation.benchmark import read_benchmark
from rba.evaluation.case_set import batches, open_case_set


def test_facts_are_those_of_the_cases(bench: Path) -> None:
    seen: list[int] = []
    cases = open_case_set(bench, follow=seen.append)
    assert seen == [5, 0, 0, 0, 0, 0]
    for number, (facts, case) in enumerate(zip(cases.cases, read_benchmark(bench), strict=True)):
        assert (facts.number, facts.id, facts.task) == (number, case.id, case.task)
        assert facts.size == case.image.shape[:2]
        assert facts.has_truth == (case.truth is not None)
        assert cases.read(facts).id == case.id
    assert [facts.truth_share is None for facts in cases.cases] == [False] * 4 + [True]
    assert [len(batch) for batch in batches(cases.cases, 2)] == [2, 2, 1]


def test_a_part_keeps_its_numbers_and_the_whole_for_other_objects(bench: Path) -> None:
    cases = open_case_set(bench)
    part = cases.part([3, 1])
    assert [facts.number for facts in part.cases] == [1, 3]
    assert part.digest == cases.digest
    # three objects take turns: the next case shows another one, after the last comes the first
    assert [cases.other_object(n).number for n in range(5)] == [1, 2, 3, 4, 0]  # type: ignore[union-attr]
    assert part.other_object(1) == cases.other_object(1)


def test_one_object_alone_has_no_wrong_reference(bench: Path, tmp_path: Path) -> None:
    for name in sorted(path.name for path in bench.iterdir())[::3]:
        shutil.copytree(bench / name, tmp_path / "one" / name)
    cases = open_case_set(tmp_path / "one")
    assert [case.object_name for case in cases.cases] == ["object-000", "object-000"]
    assert cases.other_object(0) is None


def test_another_byte_is_another_digest(bench: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bench, copy)
    before = open_case_set(copy).digest
    assert before == open_case_set(bench).digest
    facts = sorted(copy.iterdir())[0] / "case.json"
    facts.write_text(facts.read_text() + " ")
    assert open_case_set(copy).digest != before


def test_broken_cases_are_counted_and_the_first_named(bench: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bench, copy)
    folders = sorted(copy.iterdir())
    (folders[1] / "image.png").write_bytes(b"")
    (folders[3] / "mask.png").unlink()
    with pytest.raises(InputError, match=r"--bench .*: 2 of 5 cases .*00001.*`rba bench check"):
        open_case_set(copy)


def test_ids_must_be_file_names_of_their_own(bench: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bench, copy)
    facts = [folder / "case.json" for folder in sorted(copy.iterdir())]
    facts[0].write_text('{"id": "a/b"}')
    with pytest.raises(InputError, match="'a/b', which is no file name"):
        open_case_set(copy)
    facts[0].write_text('{"id": "A"}')
    facts[1].write_text('{"id": "a"}')
    with pytest.raises(InputError, match="the same id 'a'"):
        open_case_set(copy)
