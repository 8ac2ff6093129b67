"""Steps: what is whole is skipped, what was killed goes on, what is not ours is refused."""

from pathlib import Path

import pytest

from rba.errors import InputError
from rba.workflow.steps import Command, Steps


class Runner:
    """Make the file that a command names; fail at the words that are told to fail."""

    def __init__(self) -> None:
        self.ran: list[Command] = []
        self.failing: set[str] = set()

    def __call__(self, command: Command) -> None:
        self.ran.append(command)
        if command[0] in self.failing:
            raise InputError("killed")
        Path(command[1]).parent.mkdir(parents=True, exist_ok=True)
        Path(command[1]).write_text(command[0])


@pytest.fixture
def runner() -> Runner:
    return Runner()


def steps(folder: Path, runner: Runner, **settings: bool) -> Steps:
    return Steps(folder / "steps", runner, **settings)


def test_a_whole_step_is_skipped_and_says_so(
    tmp_path: Path, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"
    command = ("render", str(made))
    first = steps(tmp_path, runner).take("data", [command], makes=[made])
    again = steps(tmp_path, runner).take("data", [command], makes=[made])
    assert first == again
    assert runner.ran == [command]
    assert "skipping data: whole" in capsys.readouterr().out
    assert steps(tmp_path, runner).commands("data") == [command]


def test_a_step_is_made_again_when_its_result_settings_or_input_changed(
    tmp_path: Path, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made"

    def take(word: str, *after: str) -> str:
        return steps(tmp_path, runner).take("data", [(word, str(made))], makes=[made], after=after)

    take("render")
    made.unlink()
    take("render")
    other = take("render-more")
    assert made.read_text() == "render-more"
    assert take("render-more", "input") != other
    assert len(runner.ran) == 4
    assert "making data anew: its settings changed" in capsys.readouterr().out


def test_a_killed_step_is_run_again_from_its_beginning(
    tmp_path: Path, runner: Runner, capsys: pytest.CaptureFixture[str]
) -> None:
    made, half = tmp_path / "made", tmp_path / "half"
    commands = [("one", str(half)), ("two", str(made))]
    runner.failing = {"two"}
    with pytest.raises(InputError, match="killed"):
        steps(tmp_path, runner).take("data", commands, makes=[half, made])
    assert half.is_file()
    runner.failing = set()
    steps(tmp_path, runner).take("data", commands, makes=[half, made])
    assert [command[0] for command in runner.ran] == ["one", "two", "one", "two"]
    assert "going on with data" in capsys.readouterr().out


def test_a_killed_training_keeps_its_run_and_one_of_other_settings_is_refused(
    tmp_path: Path, runner: Runner
) -> None:
    model, run = tmp_path / "model", tmp_path / "run"

    def take(word: str) -> None:
        steps(tmp_path, runner).take("train", [(word, str(model))], makes=[model], continues=run)

    runner.failing = {"train"}
    with pytest.raises(InputError, match="killed"):
        take("train")
    run.mkdir()
    (run / "checkpoint").touch()
    runner.failing = set()
    take("train")
    assert (run / "checkpoint").is_file()
    with pytest.raises(InputError, match="trained with other settings"):
        take("train-longer")
    assert model.read_text() == "train"


def test_what_nobody_recorded_is_refused_or_adopted_whole(tmp_path: Path, runner: Runner) -> None:
    made, beside = tmp_path / "thesis", tmp_path / "appendix"
    made.write_text("years of work")
    with pytest.raises(InputError, match="is no result of this command"):
        steps(tmp_path, runner).take("data", [("x", str(made))], makes=[made])
    adopting = steps(tmp_path, runner, adopt=True)
    with pytest.raises(InputError, match="appendix is missing beside it"):
        adopting.take("data", [("x", str(made))], makes=[made, beside])
    adopting.take("data", [("x", str(made))], makes=[made])
    assert runner.ran == []
    assert made.read_text() == "years of work"
    steps(tmp_path, runner).take("data", [("x", str(made))], makes=[made])
    assert runner.ran == []


def test_an_adopted_training_that_was_not_exported_is_resumed(
    tmp_path: Path, runner: Runner
) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    run.mkdir()
    steps(tmp_path, runner, adopt=True).take(
        "train", [("train", str(model))], makes=[model], continues=run
    )
    assert model.is_file()
    assert run.is_dir()


def test_a_step_that_makes_nothing_and_a_damaged_record_are_named(
    tmp_path: Path, runner: Runner
) -> None:
    with pytest.raises(InputError, match="ended without"):
        steps(tmp_path, runner).take("data", [("x", str(tmp_path / "a"))], makes=[tmp_path / "b"])
    (tmp_path / "steps" / "data.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        steps(tmp_path, runner).take("data", [("x", "y")], makes=[])
