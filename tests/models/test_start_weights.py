"""``init_from``: what it names, and weights that do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import describe_scheduler
from rba.models.network import RefinementNetwork
from rba.models.start_weights import (
    describe_start,
    require_fitting_schedule,
    require_fitting_weights,
)

Make = Callable[..., RefinementNetwork]
SCHEDULE: dict[str, Any] = {"beta_start": 0.1, "beta_end": 0.2, "prediction_type": "sample"}


@pytest.fixture(params=["folder", "checkpoint"])
def source(request: Any, network: RefinementNetwork, tmp_path: Path) -> str:
    schedule = DDIMScheduler(**SCHEDULE)
    if request.param == "folder":
        pipeline = RefineByAlignPipeline.from_network(network, schedule, image_size=64)
        pipeline.write(tmp_path / "model")
        return str(tmp_path / "model")
    facts = {
        "network": network.describe(), "scheduler": describe_scheduler(schedule),
        "reference_size": 32, "train_encoder": False, "image_size": 64,
    }  # fmt: skip
    torch.save({"rba": facts, "state_dict": {}, "global_step": 1}, tmp_path / "a.ckpt")
    return str(tmp_path / "a.ckpt")


def test_tensors_that_do_not_fit_are_named_one_by_one_with_both_shapes(
    source: str, network: RefinementNetwork
) -> None:
    require_fitting_weights(source, network.describe())
    wanted = network.describe()
    wanted["connector"]["config"]["hidden_features"] = 24
    with pytest.raises(InputError) as caught:
        require_fitting_weights(source, wanted)
    message = str(caught.value)
    assert f"init_from={source} has another architecture" in message
    assert "connector.hidden_features is 32 there, 24 here" in message
    assert "connector.layers.1.bias is (32,) there, (24,) here" in message
    assert "connector.layers.1.weight is (32, 16) there, (24, 16) here" in message
    assert "connector.layers.3.weight is (16, 32) there, (16, 24) here" in message
    assert message.count("there,") == 4
    wanted["unet"]["config"]["block_out_channels"] = [16, 16, 32, 32]
    with pytest.raises(InputError, match=r"there, \(24,\) here; .*and \d{3} more; choose"):
        require_fitting_weights(source, wanted)


def test_missing_tensors_are_named(source: str, network: RefinementNetwork) -> None:
    wanted = network.describe()
    wanted["encoder"]["config"]["num_hidden_layers"] = 2
    with pytest.raises(InputError, match=r"encoder\..*layer\.1\..* is missing there, \(16,\) here"):
        require_fitting_weights(source, wanted)


def test_another_schedule_or_prediction_is_refused(
    source: str, caplog: pytest.LogCaptureFixture
) -> None:
    require_fitting_schedule(source, SCHEDULE, teaches=False)
    with pytest.raises(InputError, match=r"beta_end is 0.2 there, 0.3 here"):
        require_fitting_schedule(source, SCHEDULE | {"beta_end": 0.3}, teaches=True)
    other = SCHEDULE | {"prediction_type": "epsilon"}
    with pytest.raises(InputError, match="predict sample, this run predicts epsilon; give obj"):
        require_fitting_schedule(source, other, teaches=False)
    require_fitting_schedule(source, other, teaches=True)
    assert "it is taught that" in caplog.text


def test_which_weights_is_a_question_for_checkpoints_alone(
    source: str, network: RefinementNetwork
) -> None:
    with pytest.raises(InputError, match="init_weights=best is none of ema, raw"):
        require_fitting_weights(source, network.describe(), weights="best")
    if source.endswith(".ckpt"):
        require_fitting_weights(source, network.describe(), weights="raw")
    else:
        with pytest.raises(InputError, match=r"init_weights=raw goes with a \.ckpt"):
            require_fitting_weights(source, network.describe(), weights="raw")


def test_stable_diffusion_is_no_model_of_ours(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    (tmp_path / "sd.safetensors").touch()
    for place in (tmp_path, tmp_path / "sd.safetensors"):
        with pytest.raises(InputError, match=f"give model.source={place} and leave init_from"):
            describe_start(place)
    with pytest.raises(InputError, match="does not exist"):
        describe_start(tmp_path / "none.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    with pytest.raises(InputError, match="not a checkpoint of this framework"):
        describe_start(tmp_path / "foreign.ckpt")
