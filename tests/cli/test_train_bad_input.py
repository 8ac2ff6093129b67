"""train.py with bad settings: an `InputError` in one line before a weight is made or read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from rba.errors import InputError
from rba.settings import check_train_settings
from rba.training.run import world_size

Train = Callable[..., None]
Refused = Callable[..., str]


def comes_to_its_weights(train: Train, *more: str) -> None:
    with pytest.raises(Exception, match="everything was accepted"):
        train(*more)


def test_the_usual_command_comes_to_its_weights(train: Train, tmp_path: Path) -> None:
    comes_to_its_weights(train)
    assert (tmp_path / "runs" / "tiny" / "config.yaml").is_file()


def test_check_says_what_would_run_and_makes_nothing(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("check=true")
    assert "optimiser steps: 1" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("no_such_key=1", "no_such_key"),
        ("+no_such_key=1", "no_such_key"),
        ("+data.masks.no_such_key=1", "no_such_key"),
        ("+model.network.encoder.architecture.no_such_key=1", "no_such_key"),
        ("+optimizer.factory.no_such_key=1", "no_such_key"),
        ("callbacks.ema._target_=no.such.Part", "no.such.Part"),
        ("~callbacks", "callbacks.ema has no _target_"),
        ("~logger", "logger=VALUE"),
        ("data=null", "override"),
        ("data.alignment.shards=???", "data.alignment.shards=VALUE"),
        ("run_name='my run'", "'my run'"),
        ("run_name=../elsewhere", "'../elsewhere'"),
        ("run_name=.", "'.'"),
        ("seed=-1", "seed=-1"),
        ("global_batch=3", "the nearest are 2 and 4"),
        ("model.image_size=34", "the nearest are 32 and 40"),
        ("model.reference_size=18", "the nearest are 16 and 24"),
        ("model.network.connector.in_features=7", "in_features is 7"),
        ("objective.loss.hole_weight=x", "objective.loss.hole_weight=x must be a number"),
        ("optimizer.learning_rates.unet=fast", "unet=fast"),
        ("optimizer.warmup_steps=-1", "warmup_steps=-1"),
        ("optimizer.factory.betas=[2,3]", "2"),
        ("validation.layer=16", "validation.layer=16; give at most 15"),
        ("data.num_workers=-1", "data.num_workers=-1"),
        ("data.masks.profile=nowhere", "'nowhere'"),
        ("data.alignment.settings.crop_scale=[2,3]", "[2, 3]"),
        ("data.refinement.validation_shards=nowhere", "nowhere does not exist"),
        ("data.alignment.shards=null", "data.alignment.shards is not set"),
        ("init_from=nowhere", "nowhere is not a model directory"),
        ("resume=nowhere.ckpt", "nowhere.ckpt does not exist"),
        ("resume=true", "resume=True does not exist"),
    ],
)
def test_a_bad_setting_is_named(refused: Refused, setting: str, words: str) -> None:
    assert words in refused(setting)


def test_check_refuses_what_training_refuses(refused: Refused, tmp_path: Path) -> None:
    for mistake in ("callbacks.ema.decay=2", "model.image_size=34", "init_from=nowhere"):
        assert refused(mistake) == refused(mistake, "check=true")
    (tmp_path / "runs").write_text("a file")
    assert "is not a folder" in refused("check=true")


def test_what_this_machine_cannot_do_is_no_mistake_of_the_check(
    train: Train, refused: Refused
) -> None:
    settings = {
        "trainer.accelerator=abacus": "abacus",
        "trainer.gradient_clip_val=-1": "-1",
        "+trainer.no_such_key=3": "no_such_key",
    }
    for setting, words in settings.items():
        assert words in refused(setting)
    train(*settings, "check=true")


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"devices": "x"}, {"num_nodes": 0}], ids=str)
def test_a_number_of_devices_that_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"trainer.{next(iter(wrong))}="):
        world_size({"devices": 1, "num_nodes": 1, **wrong})


def test_an_alternation_needs_the_shards_of_the_modes_it_uses(
    train: Train, refused: Refused
) -> None:
    comes_to_its_weights(train, "alternation=refinement_only", "data.alignment.shards=null")
    comes_to_its_weights(train, "alternation=alignment_only", "data.refinement.shards=null")
    message = refused("alternation=refinement_only", "data.refinement.shards=null")
    assert "data.refinement.shards=PATTERN" in message
    assert "both 0" in refused("alternation.alignment=0", "alternation.refinement=0")


def test_a_number_is_a_run_name(composed: Callable[..., DictConfig]) -> None:
    config = composed("run_name=2024")
    check_train_settings(config)
    assert (config.run_name, config.logger.csv.name) == ("2024", "2024")
