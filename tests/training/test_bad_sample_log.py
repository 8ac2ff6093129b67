"""The account of bad samples, with a trainer that is made up."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rba.batch import BadSample, Batch
from rba.data.bad_samples import BadSampleLimit, TooManyBadSamplesError
from rba.errors import InputError
from rba.training.callbacks.bad_samples import BadSampleLog


def bad(index: int, shard: str = "a.tar") -> BadSample:
    return BadSample(dataset="set", shard=shard, index=index, key=f"k{index}", reason="cut short")


class FakeTrainer(SimpleNamespace):
    def __init__(self, step: int = 0) -> None:
        super().__init__(global_step=step, is_global_zero=True, world_size=1)
        self.strategy = SimpleNamespace(broadcast=lambda x: x, barrier=lambda name: None)
        self.logged: list[dict[str, float]] = []
        log = SimpleNamespace(log_metrics=lambda metrics, step: self.logged.append(metrics))
        self.loggers = [log]
        self.datamodule = SimpleNamespace(
            describe=lambda: {"alignment": {}},
            samples_read=lambda step, validation: 10 * step,
        )


@pytest.fixture
def run(tmp_path: Path, make_batch: Callable[..., Batch]) -> Callable[..., FakeTrainer]:
    def steps(
        met: dict[int, list[BadSample]],
        start: int,
        end: int,
        validated: tuple[BadSample, ...] = (),
        **limit: object,
    ) -> FakeTrainer:
        log = BadSampleLog(tmp_path / "bad.jsonl", 2, BadSampleLimit(**limit))
        trainer = FakeTrainer(start)
        log.on_train_start(trainer, None)
        for step in range(start, end):
            batch = replace(make_batch(), replaced=tuple(met.get(step, ())))
            log.on_train_batch_start(trainer, None, batch, step)
            trainer.global_step = step + 1
            log.on_train_batch_end(trainer, None, None, batch, step)
        batch = replace(make_batch(), replaced=validated)
        log.on_validation_batch_end(trainer, None, None, batch, 0)
        log.on_validation_end(trainer, None)
        log.on_train_end(trainer, None)
        return trainer

    return steps


def entries(tmp_path: Path) -> list[tuple[int, bool, int]]:
    lines = map(json.loads, (tmp_path / "bad.jsonl").read_text().splitlines())
    return [(line["step"], line["validation"], line["index"]) for line in lines]


def test_each_is_listed_logged_and_counted_once(
    run: Callable[..., FakeTrainer],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.WARNING):
        trainer = run({0: [bad(3), bad(1)], 2: [bad(3)], 4: [bad(3), bad(7)]}, 0, 5, (bad(3),))
    assert entries(tmp_path) == [(0, False, 1), (0, False, 3), (4, False, 7), (5, True, 3)]
    assert len(caplog.messages) == 4
    assert "training, step 0: sample 1 (k1) of set/a.tar: cut short" in caplog.messages[0]
    counts = [metrics["data/bad_samples_alignment"] for metrics in trainer.logged]
    assert counts == [2, 2, 3]  # at the intervals, and once where validation and run end
    assert trainer.logged[-1]["data/bad_validation_samples_alignment"] == 1
    told = capsys.readouterr().out
    assert "3 bad samples were replaced in training" in told
    assert "        3  set/a.tar  cut short" in told
    assert "1 bad samples were replaced in validation" in told


def test_a_resume_doubles_nothing_and_forgets_steps_that_run_again(
    run: Callable[..., FakeTrainer], tmp_path: Path
) -> None:
    met = {0: [bad(1)], 3: [bad(2)], 5: [bad(1), bad(4)]}
    run(met, 0, 6, (bad(9),))
    whole = entries(tmp_path)
    with (tmp_path / "bad.jsonl").open("a") as file:
        file.write('{"step": 5, "valid')  # a kill
    run({3: [bad(2)]}, 3, 4)
    assert entries(tmp_path) == [(0, False, 1), (3, False, 2)]
    run(met, 4, 6, (bad(9),))
    assert entries(tmp_path) == whole


@pytest.mark.parametrize(
    ("limit", "named"),
    [({"count": 2}, "count=2"), ({"share": 0.1, "min_samples": 1}, "3 of the 20 samples")],
)
def test_too_many_end_the_run_with_file_and_first_lines(
    run: Callable[..., FakeTrainer], tmp_path: Path, limit: dict[str, float], named: str
) -> None:
    with pytest.raises(TooManyBadSamplesError, match=named) as caught:
        run({0: [bad(1), bad(2)], 1: [bad(3, "b.tar")]}, 0, 20, **limit)
    assert "2 x set/a.tar: cut short; 1 x set/b.tar: cut short" in str(caught.value)
    assert str(tmp_path / "bad.jsonl") in str(caught.value)
    assert len(entries(tmp_path)) == 3


def test_validation_is_held_to_the_limit_apart(run: Callable[..., FakeTrainer]) -> None:
    run({0: [bad(1), bad(2)]}, 0, 2, (bad(1), bad(2)), count=2)
    with pytest.raises(TooManyBadSamplesError, match="validation: 3 samples"):
        run({}, 2, 3, (bad(1), bad(2), bad(3)), count=2)


def test_an_interval_below_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every_n_steps=0; give 1"):
        BadSampleLog(tmp_path / "bad.jsonl", 0, BadSampleLimit())
