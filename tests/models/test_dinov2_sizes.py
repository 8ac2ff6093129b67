"""DINOv2 in its four sizes, with and without registers, by one setting; shapes alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Dinov2Model, Dinov2WithRegistersModel

from rba.errors import InputError
from rba.models.connector import Connector
from rba.models.encoder import check_encoder, load_encoder, num_tokens
from rba.settings import compose_config, plain

# parameters of facebook/dinov2-NAME in transformers
SIZES = {"small": 22_056_576, "base": 86_580_480, "large": 304_368_640, "giant": 1_136_480_768}
REGISTERS = "model.network.encoder.architecture.model_type=dinov2_with_registers"


def network(*overrides: str) -> dict[str, Any]:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    return plain(compose_config("train", ["experiment=paper", *shards, *overrides]).model.network)


@pytest.mark.parametrize("size", SIZES)
def test_each_size_has_its_published_shape_and_a_fitting_connector(
    size: str, tmp_path: Path
) -> None:
    settings = network(f"model/dinov2={size}")
    architecture = settings["encoder"]["architecture"]
    with torch.device("meta"):
        encoder = load_encoder(None, architecture)
    assert isinstance(encoder, Dinov2Model)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == SIZES[size]
    assert settings["encoder"]["source"] == f"facebook/dinov2-{size}"
    assert num_tokens(encoder, 224) == 256
    connector = {k: v for k, v in settings["connector"].items() if k != "_target_"}
    assert Connector(**connector).config["in_features"] == encoder.config.hidden_size
    encoder.config.save_pretrained(tmp_path)
    assert check_encoder(str(tmp_path), architecture) == "dinov2"
    wider = architecture | {"hidden_size": 2 * architecture["hidden_size"]}
    with pytest.raises(InputError, match="hidden_size is"):
        check_encoder(str(tmp_path), wider)


def test_registers_are_a_setting_that_the_source_is_held_to(tmp_path: Path) -> None:
    architecture = network("model/dinov2=base", REGISTERS)["encoder"]["architecture"]
    with torch.device("meta"):
        encoder = load_encoder(None, architecture)
    assert isinstance(encoder, Dinov2WithRegistersModel)
    assert encoder.config.num_register_tokens == 4
    encoder.config.save_pretrained(tmp_path)
    assert check_encoder(str(tmp_path), architecture) == "dinov2_with_registers"
    without = network("model/dinov2=base")["encoder"]["architecture"]
    with pytest.raises(InputError, match="model_type is 'dinov2_with_registers' there"):
        check_encoder(str(tmp_path), without)
