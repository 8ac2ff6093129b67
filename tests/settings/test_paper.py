"""Each figure of appendix A.3 in the composed configuration, and its source beside it in YAML."""

import re
from typing import Any

import pytest
from omegaconf import DictConfig

from rba.data.stream import BatchSplit
from rba.errors import InputError
from rba.models.network import RefinementNetwork
from rba.settings import CONFIG_FOLDER, build, check_train_settings, compose_config, plain
from rba.settings.training import without_sources
from rba.training.check import on_meta
from rba.training.loss import Objective
from rba.training.optim import parameter_groups

# A.3: "1) Pixabay, a dataset of 116k images; 2) MVObj, a dataset of 51k paired images"
PIXABAY, MVOBJ = 116_000, 51_000


def composed(*overrides: str) -> DictConfig:
    shards = ["data.alignment.shards=a", "data.refinement.shards=b"]
    config = compose_config("train", ["experiment=paper", *shards, *overrides])
    check_train_settings(config)
    return config


@pytest.fixture(scope="module")
def config() -> DictConfig:
    return composed()


@pytest.fixture(scope="module")
def network(config: DictConfig) -> RefinementNetwork:
    built: Any = on_meta(lambda: build(without_sources(config.model.network)))
    return built


def split(config: DictConfig) -> BatchSplit:
    return BatchSplit(
        global_batch=config.data.global_batch,
        per_device_batch=config.data.per_device_batch,
        world_size=config.trainer.devices * config.trainer.num_nodes,
    )


def test_a_batch_size_of_192_on_8_gpus(config: DictConfig) -> None:
    assert config.global_batch == config.data.global_batch == 192
    assert config.trainer.devices * config.trainer.num_nodes == 8
    assert config.trainer.accelerator == "gpu"
    assert split(config).accumulation * 8 * config.per_device_batch == 192


@pytest.mark.parametrize(
    ("devices", "nodes", "per_device", "accumulation"),
    [(1, 1, 24, 8), (8, 1, 24, 1), (8, 1, 12, 2), (8, 4, 6, 1), (8, 4, 3, 2)],
)
def test_accumulation_follows_from_devices_nodes_and_the_batch_a_device(
    devices: int, nodes: int, per_device: int, accumulation: int
) -> None:
    settings = (devices, nodes, per_device)
    names = ("trainer.devices", "trainer.num_nodes", "per_device_batch")
    config = composed(*(f"{n}={s}" for n, s in zip(names, settings, strict=True)))
    assert split(config).accumulation == accumulation


def test_what_does_not_divide_is_refused_with_the_nearest_choices() -> None:
    with pytest.raises(InputError, match=r"192 is not .* 32 ranks x per_device_batch=24; the near"):
        split(composed("trainer.num_nodes=4"))
    with pytest.raises(InputError, match="keep it with per_device_batch=6, or on 8 ranks"):
        split(composed("trainer.num_nodes=4"))


def test_the_image_embedding_is_dropped_at_a_rate_of_a_tenth(config: DictConfig) -> None:
    objective = build(config.objective.loss)
    assert isinstance(objective, Objective)
    assert objective.drop_probability == 0.1


def test_learning_rates_of_mlp_and_unet(config: DictConfig, network: RefinementNetwork) -> None:
    groups = parameter_groups(network, plain(config.optimizer.learning_rates))
    assert {group["name"]: group["lr"] for group in groups} == {"connector": 4e-5, "unet": 1e-5}


def test_the_whole_unet_and_the_mlp_are_trained_and_nothing_else(
    network: RefinementNetwork,
) -> None:
    trained = {name: [p.requires_grad for p in part.parameters()] for name, part in
               network.named_children()}  # fmt: skip
    assert all(trained["unet"])
    assert all(trained["connector"])
    assert not any(trained["encoder"] + trained["autoencoder"])
    # 16 cross-attention modules, 256 tokens of width 768
    assert len(network.cross_attention_layers()) == 16
    assert network.unet.config["cross_attention_dim"] == 768


def test_dinov2_gives_256_tokens(config: DictConfig) -> None:
    patch = config.model.network.encoder.architecture.patch_size
    assert (config.model.reference_size // patch) ** 2 == 256
    assert config.model.network.connector.out_features == 768


def test_more_than_45_epochs_of_both_sets(config: DictConfig) -> None:
    pattern = build(config.alternation)
    shares = pattern.alignment, pattern.refinement
    for share, samples in zip(shares, (PIXABAY, MVOBJ), strict=True):
        seen = config.max_steps * config.global_batch * share / sum(shares)
        assert seen / samples > 45


def test_the_other_pattern_reaches_45_epochs_of_both_in_39_000_steps() -> None:
    config = composed("alternation=nine_to_four", "max_steps=39000")
    shares = config.alternation.alignment, config.alternation.refinement
    for share, samples in zip(shares, (PIXABAY, MVOBJ), strict=True):
        assert 39_000 * 192 * share / sum(shares) / samples == pytest.approx(45, rel=0.01)


def test_each_figure_has_its_source_beside_it() -> None:
    lines = (CONFIG_FOLDER / "experiment" / "paper.yaml").read_text().splitlines()
    for figure in ("global_batch: 192", "devices: 8", "connector: 4.0e-5", "unet: 1.0e-5",
                   "drop_probability: 0.1", "max_steps: 54400"):  # fmt: skip
        assert any(re.search(rf"{re.escape(figure)}\b.*# A\.3", line) for line in lines), figure
