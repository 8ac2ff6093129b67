"""Running rows: what is whole is left alone, what fails is counted, half files are done again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from rba.case import Case
from rba.evaluation.case_set import CaseSet, open_case_set
from rba.evaluation.methods import MethodResult
from rba.evaluation.result_files import ResultFolder
from rba.evaluation.runner import Runner, metrics_digest
from rba.evaluation.scoring import ScoringSettings, make_metrics

METRICS = make_metrics(ScoringSettings(reference_side=64))


class Painter:
    """Paints the hole grey by the case's number; fails on chosen numbers."""

    name = "painter"
    description = "Grey."

    def __init__(self, fails: Sequence[int] = (), stops: int | None = None) -> None:
        self.fails = fails
        self.stops = stops
        self.asked: list[list[int]] = []

    def settings(self) -> Mapping[str, object]:
        return {"fails": list(self.fails)}

    def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
        self.asked.append(list(numbers))
        for case, number in zip(cases, numbers, strict=True):
            if number == self.stops:
                raise KeyboardInterrupt
            if number in self.fails:
                raise RuntimeError(f"case {number} is odd")
            image = case.image.copy()
            image[case.artifact_mask] = 10 * number
            region = np.zeros(case.references[0].shape[:2], bool)
            region[: 4 + number] = True
            yield MethodResult(
                image=image,
                region=region,
                correspondence=np.full((16, 16), 1 / 256, np.float32),
                faded=~case.artifact_mask if number == 0 else None,
                notes={"number": number},
            )


@pytest.fixture(scope="module")
def cases(bench: Path) -> CaseSet:
    return open_case_set(bench)


@pytest.fixture
def runner(cases: CaseSet, tmp_path: Path) -> Runner:
    return make_runner(cases, tmp_path)


def make_runner(cases: CaseSet, output: Path, scored_with: str = "a") -> Runner:
    return Runner(
        cases=cases, metrics=METRICS, scored_with=scored_with, output=output, batch_size=2
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_results_are_written_scored_and_read_back(runner: Runner, cases: CaseSet) -> None:
    painter = Painter()
    assert runner.run(painter) == 0
    assert painter.asked == [[0, 1], [2, 3], [4]]
    folder = runner.folder("painter")
    for facts in cases.cases:
        case = cases.read(facts)
        (wanted,) = painter.run([case], [facts.number])
        result = folder.read(facts.id)
        assert result is not None
        assert np.array_equal(result.image, wanted.image)
        assert np.array_equal(result.region, wanted.region)  # type: ignore[arg-type]
        assert np.array_equal(result.correspondence, wanted.correspondence)  # type: ignore[arg-type]
        assert (result.faded is None) == (wanted.faded is None)
        assert result.notes == wanted.notes
        stored = folder.scores(facts.id)
        assert stored is not None
        assert stored.scores["change_outside"] == 0.0
        assert (stored.scores["psnr_hole_db"] is None) == (case.truth is None)
    assert not [name for name in contents(folder.path) if name.endswith(".partial")]


def test_a_stop_in_the_middle_ends_with_the_same_bytes(
    runner: Runner, cases: CaseSet, tmp_path: Path
) -> None:
    runner.run(Painter())
    whole = contents(runner.folder("painter").path)
    broken = make_runner(cases, tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        broken.run(Painter(stops=3))
    left = contents(broken.folder("painter").path)
    assert 0 < len(left) < len(whole)
    again = Painter()
    broken.run(again)
    assert again.asked == [[2, 3], [4]]
    assert contents(broken.folder("painter").path) == whole
    idle = Painter()
    broken.run(idle)
    assert idle.asked == []


def test_what_is_not_whole_is_done_again_in_its_batch(runner: Runner, cases: CaseSet) -> None:
    runner.run(Painter())
    folder = runner.folder("painter").path
    whole = contents(folder)
    (folder / f"{cases.cases[0].id}.json").write_text('{"scores": {')
    (folder / f"{cases.cases[4].id}.png").unlink()
    again = Painter()
    runner.run(again)
    assert again.asked == [[0, 1], [4]]
    assert contents(folder) == whole


def test_a_failure_is_told_and_stops_no_other(runner: Runner, cases: CaseSet) -> None:
    painter = Painter(fails=[2])
    assert runner.run(painter) == 1
    assert painter.asked == [[0, 1], [2, 3], [2], [3], [4]]
    folder = runner.folder("painter")
    failed = folder.scores(cases.cases[2].id)
    assert failed is not None
    assert failed.error == "RuntimeError: case 2 is odd"
    assert failed.scores == {}
    facts = json.loads((folder.path / f"{cases.cases[2].id}.json").read_text())
    assert "Painter" in facts["traceback"] or "run" in facts["traceback"]
    assert folder.read(cases.cases[2].id) is None
    assert folder.read(cases.cases[3].id) is not None
    assert runner.run(Painter()) == 0  # the next start tries it again
    assert folder.read(cases.cases[2].id) is not None


def test_a_result_of_a_wrong_size_is_a_failure(runner: Runner, cases: CaseSet) -> None:
    class Small(Painter):
        def run(self, cases: Sequence[Case], numbers: Sequence[int]) -> Iterator[MethodResult]:
            for _ in cases:
                yield MethodResult(image=np.zeros((3, 3, 3), np.uint8))

    assert runner.run(Small()) == 5
    stored = runner.folder("painter").scores(cases.cases[0].id)
    assert stored is not None
    assert "(3, 3, 3)" in str(stored.error)


def test_other_metrics_score_again_without_the_method(
    runner: Runner, cases: CaseSet, tmp_path: Path
) -> None:
    runner.run(Painter())
    folder = runner.folder("painter").path
    before = contents(folder)
    idle = Painter()
    make_runner(cases, tmp_path, scored_with="b").run(idle)
    assert idle.asked == []
    after = contents(folder)
    assert set(after) == set(before)
    for name, content in after.items():
        assert (content == before[name]) == (not name.endswith(".json"))
        if name.endswith(".json"):
            old, new = json.loads(before[name]), json.loads(content)
            assert old | {"scored_with": "b"} == new


def test_the_digest_of_the_metrics_sees_their_settings() -> None:
    one = metrics_digest(METRICS, {"side": 64})
    assert one == metrics_digest(METRICS, {"side": 64})
    assert one != metrics_digest(METRICS, {"side": 65})
    assert one != metrics_digest({}, {"side": 64})


def test_nothing_is_known_of_a_case_without_files(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "none")
    assert folder.scores("a") is None
    assert folder.read("a") is None
