"""A stage's settings, and what is read of its run's folder."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from rba.errors import InputError
from rba.settings import compose_config
from rba.workflow.commands import train_command
from rba.workflow.rendered import shard_folders
from rba.workflow.stage import Stage, require_same_settings, samples_by_mode, stage_log
from rba.workflow.steps import Command


def command(run: Path, *more: str) -> Command:
    settings = {"max_steps": 7, "seed": 0, "resume": "auto"}
    return train_command(shard_folders(run.parent), run, settings, ["global_batch=4", *more])


def write_run(run: Path, *more: str) -> Path:
    run.mkdir(parents=True)
    config = compose_config("train", command(run, *more)[1:])
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))
    return run


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_steps": 1.5, "seed": 0, "overrides": []}, "stages.a.max_steps=1.5; give a int"),
        ({"max_steps": 1, "overrides": []}, "stages.a.seed=None"),
        ({"max_steps": 1, "seed": 0, "overrides": "x"}, "stages.a.overrides=x"),
        ({"max_steps": 1, "seed": 0, "overrides": [], "lr": 1}, "stages.a.lr is unknown"),
    ],
)
def test_a_misspelt_stage_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Stage.read("a", given)


def test_samples_are_counted_by_mode(tmp_path: Path) -> None:
    both = write_run(tmp_path / "both")
    one = write_run(tmp_path / "one", "alternation=refinement_only")
    assert samples_by_mode(both) == {"alignment": 16, "refinement": 12}
    assert samples_by_mode(one) == {"alignment": 0, "refinement": 28}
    log = stage_log(Stage(name="both", max_steps=7, seed=0, overrides=[]), both)
    assert (log.global_batch, log.max_steps, log.metrics) == (4, 7, both / "metrics.csv")


def test_a_run_without_settings_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.yaml cannot be read"):
        samples_by_mode(tmp_path)


def test_runs_of_the_same_settings_pass_wherever_they_lie(tmp_path: Path) -> None:
    elsewhere = write_run(tmp_path / "elsewhere", "data.num_workers=0", "resume=null")
    require_same_settings(elsewhere, command(tmp_path / "here"))
    require_same_settings(tmp_path / "nowhere", command(tmp_path / "here"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.curriculum.samples=5", "trained with data.curriculum.samples=0, wanted is 5"),
        ("seed=1", "trained with seed=0, wanted is 1"),
        ("init_from=model", "started with init_from=None, wanted is model"),
    ],
)
def test_a_run_of_other_settings_is_refused(tmp_path: Path, override: str, message: str) -> None:
    run = write_run(tmp_path / "run")
    with pytest.raises(InputError, match=message):
        require_same_settings(run, command(run, override))
