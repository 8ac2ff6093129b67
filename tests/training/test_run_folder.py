"""Where a run starts from, and what a killed run leaves behind."""

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from rba.errors import InputError
from rba.training.callbacks.resume_checkpoint import list_checkpoints
from rba.training.csv_log import ResumableCSVLogger, drop_rows_from
from rba.training.run import purge_later_events
from rba.training.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.named(str(tmp_path), "some/run")


def add_checkpoint(run: RunFolder, step: int) -> Path:
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    path = run.checkpoints / f"step_{step:08d}.ckpt"
    facts = dict.fromkeys(("network", "scheduler", "reference_size", "train_encoder", "image_size"))
    torch.save({"rba": facts, "global_step": step, "state_dict": {"x": torch.ones(999)}}, path)
    return path


def test_a_fresh_run_starts_at_nothing_with_or_without_auto(run: RunFolder) -> None:
    assert run.starting_point(None, None) is None
    assert run.starting_point("auto", None) is None


def test_auto_takes_the_newest_by_number_not_by_name(run: RunFolder) -> None:
    for step in (5, 100_000_000, 40):
        add_checkpoint(run, step)
    assert run.starting_point("auto", None) == list_checkpoints(run.checkpoints)[-1]
    assert "100000000" in list_checkpoints(run.checkpoints)[-1].name


def test_a_partial_checkpoint_is_not_taken(run: RunFolder) -> None:
    whole = add_checkpoint(run, 5)
    (run.checkpoints / ".step_00000009.ckpt.partial").write_bytes(b"")
    assert run.starting_point("auto", None) == whole


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(torch.ones(999).numpy().tobytes()) + 400] ^= 1
    path.write_bytes(bytes(data))


def replace_by_another_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "text")


def replace_by_another_checkpoint(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


@pytest.mark.parametrize(
    "damage",
    [cut, empty, flip_a_byte, replace_by_another_zip, replace_by_another_checkpoint],
)
def test_auto_steps_back_past_damaged_ones_and_says_so(
    run: RunFolder, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    older, newer, newest = (add_checkpoint(run, step) for step in (5, 7, 9))
    damage(newest)
    damage(newer)
    assert run.starting_point("auto", None) == older
    assert len(caplog.records) == 2
    for record, path in zip(caplog.records, (newest, newer), strict=True):
        assert f"stepping back past a damaged checkpoint: {path}" in record.getMessage()
    damage(older)
    with pytest.raises(InputError, match=r"none of the 3 checkpoints in .* can be read"):
        run.starting_point("auto", None)
    assert len(list_checkpoints(run.checkpoints)) == 3
    with pytest.raises(InputError, match=re.escape(str(newest))):
        run.starting_point(str(newest), None)


def test_what_a_kill_left_of_a_save_is_removed(run: RunFolder) -> None:
    whole = add_checkpoint(run, 5)
    (run.checkpoints / ".step_00000009.ckpt.partial").write_bytes(b"half")
    assert run.prepare("", whole) == 5
    assert list(run.checkpoints.iterdir()) == [whole]


def test_an_existing_run_is_not_overwritten_silently(run: RunFolder) -> None:
    add_checkpoint(run, 7)
    with pytest.raises(InputError, match=r"step_00000007\.ckpt.*resume=auto"):
        run.starting_point(None, None)


def test_a_missing_path_names_what_there_is(run: RunFolder) -> None:
    add_checkpoint(run, 7)
    with pytest.raises(InputError, match=r"nowhere\.ckpt does not exist.*step_00000007"):
        run.starting_point("nowhere.ckpt", None)


def test_init_from_must_be_a_model_directory(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a model directory"):
        run.starting_point(None, str(tmp_path))


@pytest.mark.parametrize("name", ["../up", "a b", "", "/absolute"])
def test_names_that_are_no_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="run_name"):
        RunFolder.named(str(tmp_path), name)


def test_the_csv_log_goes_on_after_a_resume_without_doubled_rows(tmp_path: Path) -> None:
    def log(values: dict[int, float], name: str) -> None:
        logger = ResumableCSVLogger(tmp_path, name="run", version="")
        for step, value in values.items():
            logger.log_metrics({name: value}, step=step)
        logger.save()

    path = tmp_path / "run" / "metrics.csv"
    log({10: 1.0, 20: 2.0, 30: 3.0}, "loss")
    drop_rows_from(path, 20)
    log({30: 3.5}, "other")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert rows[0] == ["loss", "other", "step"]
    assert [(row[0], row[1], row[2]) for row in rows[1:]] == [
        ("1.0", "", "10"),
        ("2.0", "", "20"),
        ("", "3.5", "30"),
    ]


def test_a_row_cut_off_by_a_kill_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("loss,step\n1.0,10\n2.0,20\n3.")
    drop_rows_from(path, 100)
    assert path.read_text().split() == ["loss,step", "1.0,10", "2.0,20"]


def test_tensorboard_shows_a_step_once_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, value in ((None, 1.0), (20, 2.0)):
        logger = TensorBoardLogger(tmp_path, name="run", version="")
        if start is not None:
            purge_later_events([logger], start)
        for step in (30, 40) if start else (10, 20, 30):
            logger.log_metrics({"loss": value}, step=step)
        logger.finalize("success")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    told = [(event.step, event.value) for event in events.Scalars("loss")]
    assert told == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
