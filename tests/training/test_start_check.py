"""What may not change at a resume, and how a change is accepted."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rba.errors import InputError
from rba.models.network import RefinementNetwork
from rba.training.changed_settings import Change
from rba.training.start_check import require_fitting_start

Start = Callable[..., list[Change]]
SETS = {"photos": {"weight": 1, "shards": "a.tar 10 00\nb.tar 10 11"}}
FACTS: dict[str, Any] = {
    "config": {
        "seed": 0,
        "global_batch": 8,
        "alternation": {"alignment": 1, "refinement": 1},
        "init_from": None,
        "train_parts": None,
        "accept_changes": [],
        "max_steps": 3,
        "model": {"network": {}},
        "optimizer": {"factory": {"_target_": "AdamW"}},
    },
    "stream": {"node_parts": 1, "alignment": {"shuffle_window": 8, "sets": SETS}},
}


@pytest.fixture
def start(network: RefinementNetwork, tmp_path: Path) -> Start:
    """Resume from a checkpoint with FACTS, some of them changed: (dotted name, value)."""
    kept = {
        "network": network.describe(),
        "scheduler": {},
        "reference_size": 32,
        "train_encoder": True,
        "image_size": 32,
        **FACTS,
    }
    path = tmp_path / "step_00000001.ckpt"
    torch.save({"rba": kept, "state_dict": {}, "global_step": 1}, path)

    def resume(changes: dict[str, Any] | None = None, accept: tuple[str, ...] = ()) -> list[Change]:
        facts = copy.deepcopy(FACTS)
        for name, value in (changes or {}).items():
            *parents, last = name.split("/")
            node = facts
            for parent in parents:
                node = node[parent]
            node[last] = value
        facts["config"]["accept_changes"] = list(accept)
        return require_fitting_start(network, path, facts)

    return resume


CHANGES = [
    ("config/seed", 3, "seed", "seed was 0, is 3"),
    ("config/global_batch", 16, "global_batch", "global_batch was 8, is 16"),
    ("config/alternation/alignment", 2, "alternation", "alternation.alignment was 1, is 2"),
    ("stream/node_parts", 2, "data.node_parts", "data.node_parts was 1, is 2"),
    ("stream/alignment/shuffle_window", 4, "data.alignment.shuffle_window", "was 8, is 4"),
    (
        "stream/alignment/sets/photos/shards",
        "a.tar 10 00",
        "data.alignment.shards",
        r"data\.alignment\.shards: photos: 1 shard removed \(b\.tar\)",
    ),
]


@pytest.mark.parametrize(("name", "value", "setting", "words"), CHANGES)
def test_each_change_is_refused_by_name_and_can_be_accepted(
    start: Start,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: Any,
    setting: str,
    words: str,
) -> None:
    start()
    assert not caplog.records
    with pytest.raises(InputError, match=words) as refusal:
        start({name: value})
    assert f"'accept_changes=[{setting}]'" in str(refusal.value)
    with caplog.at_level(logging.WARNING):
        start({name: value}, (setting,))
    assert "repeated or left out" in caplog.text
    assert "from step 1 on" in caplog.text


def test_accepting_one_change_accepts_no_other(start: Start) -> None:
    changes = {"config/seed": 3, "config/global_batch": 16}
    with pytest.raises(InputError, match="global_batch was 8") as refusal:
        start(changes, ("seed",))
    assert "seed was" not in str(refusal.value)


def test_accepting_an_unknown_setting_names_those_there_are(start: Start) -> None:
    with pytest.raises(InputError, match=r"data\.shards is none of seed, .*data\.alignment\.sh"):
        start(accept=("data.shards",))


def test_a_fresh_start_compares_nothing(network: RefinementNetwork) -> None:
    require_fitting_start(network, None, FACTS)


def test_what_takes_effect_is_returned_and_what_would_change_the_meaning_refused(
    start: Start,
) -> None:
    assert start() == []
    (change,) = start({"config/max_steps": 5})
    assert str(change) == "max_steps was 3, is 5"
    name = "optimizer.factory._target_ was AdamW, is SGD"
    with pytest.raises(InputError, match=f"{name}; set what it was"):
        start({"config/optimizer/factory/_target_": "SGD"})
