"""Every file of conf/ composes against the schema; mistakes give one clear line."""

from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate

from rba.errors import InputError
from rba.settings import (
    CONFIG_FOLDER,
    check_train_settings,
    compose_config,
    plain,
    require_sources,
    without_sources,
)
from rba.training.check import on_meta

SHARDS = ["data.alignment.shards=a", "data.refinement.shards=b"]
TRAIN_GROUPS = sorted(
    path.relative_to(CONFIG_FOLDER)
    for path in CONFIG_FOLDER.glob("*/*.yaml")
    if path.parent.name not in ("bench", "data_tools", "experiment", "rendered")
)
EXPERIMENTS = sorted(path.stem for path in (CONFIG_FOLDER / "experiment").glob("*.yaml"))
TOOLS = sorted(path.stem for path in (CONFIG_FOLDER / "data_tools").glob("*.yaml"))


def needed_overrides(name: str) -> list[str]:
    return ["trainer.devices=2"] if name in ("trainer/ddp.yaml", "trainer/fsdp.yaml") else []


def targets(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, dict):
        found = [node] if "_target_" in node else []
        return found + [item for value in node.values() for item in targets(value)]
    return [item for value in node for item in targets(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_fits_the_schema(experiment: str) -> None:
    config = compose_config("train", [f"experiment={experiment}", *SHARDS])
    check_train_settings(config)
    assert config.run_name == experiment


@pytest.mark.parametrize("path", TRAIN_GROUPS, ids=str)
def test_every_group_file_composes_and_instantiates(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    group, name = path.parent.as_posix(), path.stem
    overrides = [f"{group}={name}", *needed_overrides(path.as_posix()), *SHARDS]
    config = compose_config("train", ["experiment=tiny", *overrides])
    check_train_settings(config)
    if path.stem == "wandb":
        pytest.importorskip("wandb")
    if group == "model":
        network = on_meta(
            lambda: instantiate(without_sources(config.model.network), _convert_="all")
        )
        assert len(network.cross_attention_layers()) == 16
        built = [instantiate(config.model.scheduler, _convert_="all"), network]
    else:
        nodes = targets(plain(config[group]))
        built = [instantiate(node, _convert_="all") for node in nodes]
        assert built or group in ("trainer",)
    assert all(part is not None for part in built)


@pytest.mark.parametrize("tool", TOOLS)
def test_every_data_tool_composes_once_its_paths_are_set(tool: str) -> None:
    with pytest.raises(InputError, match="must be set"):
        compose_config(f"data_tools/{tool}")
    import yaml

    settings = yaml.safe_load((CONFIG_FOLDER / "data_tools" / f"{tool}.yaml").read_text())
    unset = [f"{key}=somewhere" for key, value in settings.items() if value == "???"]
    config = compose_config(f"data_tools/{tool}", unset)
    assert (Path(CONFIG_FOLDER.parent) / "data_tools" / f"{tool}.py").is_file()
    assert set(config) == set(settings)


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(InputError, match="no_such_key"):
        compose_config("train", ["experiment=tiny", *SHARDS, "no_such_key=1"])


def test_an_unknown_experiment_lists_those_there_are() -> None:
    with pytest.raises(InputError, match="tiny"):
        compose_config("train", ["experiment=tinny", *SHARDS])


def test_what_must_be_set_is_named_with_the_way_out() -> None:
    with pytest.raises(InputError, match=r"data\.alignment\.shards=VALUE"):
        compose_config("train", ["experiment=tiny"])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("max_steps=0", "max_steps=0"),
        ("global_batch=-4", "global_batch=-4"),
        ("seed=abc", "seed"),
        ("max_steps=many", "many"),
    ],
)
def test_a_value_of_the_wrong_type_or_size_is_refused(override: str, named: str) -> None:
    config = compose_config("train", ["experiment=tiny", *SHARDS, override])
    with pytest.raises(InputError, match=named):
        check_train_settings(config)


def test_two_prediction_types_are_refused() -> None:
    override = "model.scheduler.prediction_type=v_prediction"
    config = compose_config("train", ["experiment=paper", *SHARDS, override])
    with pytest.raises(
        InputError, match=r"objective\.prediction_type=epsilon but model\.scheduler"
    ):
        check_train_settings(config)


def test_missing_pretrained_parts_are_named_before_anything_loads(tmp_path: Path) -> None:
    override = f"model.network.encoder.source={tmp_path}/none"
    config = compose_config("train", ["experiment=paper", *SHARDS, override])
    with pytest.raises(InputError, match=r"encoder\.source.*none does not exist"):
        require_sources(config.model)
    assert without_sources(config.model.network).encoder.source is None
    assert config.model.network.encoder.source == f"{tmp_path}/none"
