"""Settings that are changed at a resume: told, and in effect from that step on."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from rba.batch import Batch
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint
from rba.training.changed_settings import Change, changed_settings, write_changes
from rba.training.checkpoint_io import AtomicCheckpointIO
from rba.training.module import RefineByAlignModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
    pytest.mark.filterwarnings("ignore:.*Skipping val loop"),
]
MakeModule = Callable[..., RefineByAlignModule]
MakeBatch = Callable[..., Batch]
OLD: dict[str, Any] = {
    "learning_rates": dict.fromkeys(("connector", "unet", "encoder"), 1e-3),
    "warmup_steps": 3,
}
NEW: dict[str, Any] = {
    "learning_rates": {"connector": 5e-3, "unet": 2e-3, "encoder": 0.0},
    "warmup_steps": 9,
    "optimizer": functools.partial(torch.optim.AdamW, betas=(0.5, 0.9), weight_decay=0.3),
}


def train(
    module: RefineByAlignModule, make_batch: MakeBatch, folder: Path, steps: int,
    start: Path | None = None, decay: float = 0.9,
) -> dict[str, Any]:  # fmt: skip
    """Train to a step, each step on a batch of its own; return the last checkpoint."""
    first = 0 if start is None else int(start.stem[5:])
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False,
        callbacks=[EMACallback(decay), ResumeCheckpoint(folder, 100)],
        plugins=[AtomicCheckpointIO()], enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False,
    )  # fmt: skip
    batches: Any = [make_batch(first=4 * step) for step in range(first, first + 20)]
    loader = DataLoader[Any](batches, batch_size=None)
    trainer.fit(module, loader, ckpt_path=start, weights_only=True)
    return torch.load(folder / f"step_{steps:08d}.ckpt", weights_only=True)


def weights(checkpoint: dict[str, Any]) -> list[torch.Tensor]:
    return list(checkpoint["state_dict"].values())


def restarted(make_module: MakeModule, start: dict[str, Any], **settings: Any) -> Any:
    module = make_module(**settings)
    module.load_state_dict(start["state_dict"])
    return module


def test_new_rates_warm_up_betas_and_decay_act_from_the_resume_on(
    make_module: MakeModule, make_batch: MakeBatch, tmp_path: Path
) -> None:
    """Against a plain loop: the checkpoint's weights and moments, the new settings."""
    start = train(make_module(**OLD), make_batch, tmp_path / "a", 4)
    path = tmp_path / "a" / "step_00000004.ckpt"
    module = restarted(make_module, start, **NEW)
    found = train(module, make_batch, tmp_path / "b", 7, start=path, decay=0.2)

    module = restarted(make_module, start, **NEW)
    groups = module._make_groups()
    optimizer = NEW["optimizer"](groups)
    numbers = iter(range(1000))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = start["optimizer_states"][0]["state"][next(numbers)]
    module.log = lambda *_, **__: None
    for step in range(4, 7):
        for group in optimizer.param_groups:
            group["lr"] = NEW["learning_rates"][group["name"]] * min(1, (step + 1) / 10)
        optimizer.zero_grad()
        module.training_step(make_batch(first=4 * step), 0).backward()
        optimizer.step()
    assert all(map(torch.equal, weights(found), module.state_dict().values()))
    assert not all(map(torch.equal, weights(found), weights(start)))
    group = next(
        group for group in found["optimizer_states"][0]["param_groups"] if group["name"] == "unet"
    )
    assert (group["betas"], group["weight_decay"], group["initial_lr"]) == ((0.5, 0.9), 0.3, 2e-3)
    assert found["callbacks"]["EMACallback"]["ema"]["decay"] == 0.2


def test_nothing_changed_goes_on_bit_for_bit(
    make_module: MakeModule, make_batch: MakeBatch, tmp_path: Path
) -> None:
    first = {"state_dict": {k: v.clone() for k, v in make_module().state_dict().items()}}
    whole = train(make_module(**OLD), make_batch, tmp_path / "whole", 5)
    train(restarted(make_module, first, **OLD), make_batch, tmp_path / "part", 2)
    part = tmp_path / "part" / "step_00000002.ckpt"
    rest = train(restarted(make_module, first, **OLD), make_batch, tmp_path / "rest", 5, start=part)
    assert all(map(torch.equal, weights(whole), weights(rest)))
    for one, two in zip(whole["optimizer_states"], rest["optimizer_states"], strict=True):
        assert one["param_groups"] == two["param_groups"]
    assert whole["lr_schedulers"] == rest["lr_schedulers"]


def test_each_changed_setting_is_named_with_both_values() -> None:
    before = {"run_name": "a", "a": {"b": 1, "gone": 2, "path": "/x"}, "l": [1, 2], "resume": None}
    now = {"run_name": "b", "a": {"b": 3, "path": "/y"}, "l": [1, 2], "resume": "auto", "new": {}}
    assert [str(change) for change in changed_settings(before, now)] == [
        "a.b was 1, is 3",
        "a.gone was 2, is None",
        "new was None, is {}",
    ]
    assert changed_settings({}, now) == []


def test_the_list_of_changes_holds_each_once_over_kills(tmp_path: Path) -> None:
    path = tmp_path / "changes.jsonl"
    write_changes(path, [], 0)
    assert not path.exists()
    rate = Change(setting="rate", old=1, new=2)
    write_changes(path, [rate], 10)
    write_changes(path, [rate], 10)  # the run was killed before it saved
    write_changes(path, [Change(setting="workers", old=0, new=4)], 20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"step": 10, "setting": "rate", "old": 1, "new": 2},
        {"step": 20, "setting": "workers", "old": 0, "new": 4},
    ]
