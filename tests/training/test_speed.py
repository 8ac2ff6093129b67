"""Each setting of precision, memory and speed: what it does, and that a resume stays exact."""

import copy
import csv
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch._dynamo.testing import CompileCounter
from torch._inductor import cpp_builder, exc
from torch.utils.data import DataLoader, IterableDataset

from rba.batch import Batch, Mode
from rba.errors import InputError
from rba.inference.grid import GridSettings, batch_grid
from rba.models.checkpoint import read_checkpoint
from rba.models.network import RefinementNetwork
from rba.models.restore import network_from_checkpoint
from rba.settings import CONFIG_FOLDER, check_train_settings, compose_config
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.speed import Speed
from rba.training.eight_bit import adamw_8bit
from rba.training.loss import Objective
from rba.training.module import RefineByAlignModule
from rba.training.run import make_trainer

Maker = Callable[..., RefineByAlignModule]
BatchMaker = Callable[..., Batch]


class Stream(IterableDataset):
    """The batches of the steps from a first one on."""

    def __init__(self, make_batch: BatchMaker, first: int) -> None:
        self.make_batch, self.first = make_batch, first

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.first, self.first + 100):
            yield self.make_batch(list(Mode)[step % 2], first=2 * step, size=2)


def trained(
    module: RefineByAlignModule,
    make_batch: BatchMaker,
    speed: dict[str, Any],
    precision: str,
    *,
    steps: int,
    start: Path | None = None,
    first: int = 0,
) -> Trainer:
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "num_nodes": 1,
        "precision": precision,
        "gradient_clip_val": 1.0,
    }
    trainer = make_trainer(
        settings | {"enable_progress_bar": False, "limit_val_batches": 0},
        callbacks=[Speed(**speed), EMACallback(0.9, "cpu")],
        loggers=[],
        max_steps=steps,
        validate_every_n_steps=100,
        accumulation=1,
        samples_file=None,
    )
    loader = DataLoader(Stream(make_batch, first), batch_size=None)
    trainer.fit(module, loader, ckpt_path=start, weights_only=True)
    return trainer


LEVERS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "bf16-mixed": ({}, "bf16-mixed", torch.optim.AdamW),
    "bf16-true": ({}, "bf16-true", torch.optim.AdamW),
    "checkpointing": ({"gradient_checkpointing": True}, "32-true", torch.optim.AdamW),
    "channels last": ({"channels_last": True}, "32-true", torch.optim.AdamW),
    "compiled": ({"compile": "aot_eager"}, "32-true", torch.optim.AdamW),
    "frozen bf16": ({"frozen_dtype": "bfloat16"}, "32-true", torch.optim.AdamW),
    "8 bit": ({}, "32-true", adamw_8bit),
    "fused": ({}, "bf16-mixed", functools.partial(torch.optim.AdamW, fused=True)),
    "all eager": (
        {"gradient_checkpointing": True, "channels_last": True, "frozen_dtype": "bfloat16"},
        "bf16-mixed",
        torch.optim.AdamW,
    ),
    "8 bit and others": (
        {"gradient_checkpointing": True, "frozen_dtype": "bfloat16"},
        "bf16-mixed",
        adamw_8bit,
    ),
    "all": (
        {
            "gradient_checkpointing": True,
            "channels_last": True,
            "compile": "aot_eager",
            "frozen_dtype": "bfloat16",
        },
        "bf16-mixed",
        torch.optim.AdamW,
    ),
}


@pytest.fixture
def make(network: RefinementNetwork, scheduler: Any) -> Maker:
    """Modules around copies of one network, whose encoder is frozen as in the paper."""
    network.train_encoder = False
    network.encoder.requires_grad_(False)

    def module(optimizer: Any = torch.optim.AdamW) -> RefineByAlignModule:
        return RefineByAlignModule(
            copy.deepcopy(network),
            scheduler,
            Objective(),
            optimizer=optimizer,
            learning_rates={"connector": 1e-3, "unet": 1e-3},
            facts={"image_size": 32, "config": {}},
        )

    return module


@pytest.mark.filterwarnings("ignore")  # what aot_eager and bitsandbytes say of themselves
@pytest.mark.parametrize(
    "name",
    [
        n if n in ("bf16-true", "fused", "all eager") else pytest.param(n, marks=pytest.mark.slow)
        for n in LEVERS
    ],
)
def test_a_resume_is_exact_and_the_checkpoint_is_like_any_other(
    name: str,
    make: Maker,
    make_batch: BatchMaker,
    network: RefinementNetwork,
    tmp_path: Path,
    equal: Callable[[Any, Any], bool],
) -> None:
    speed, precision, optimizer = LEVERS[name]
    if optimizer is adamw_8bit:
        pytest.importorskip("bitsandbytes")
    whole, half, resumed = (tmp_path / f"{n}.ckpt" for n in ("whole", "half", "resumed"))
    lever = make_batch, speed, precision
    trained(make(optimizer), *lever, steps=4).save_checkpoint(whole)
    trained(make(optimizer), *lever, steps=2).save_checkpoint(half)
    going_on = trained(make(optimizer), *lever, steps=4, start=half, first=2)
    going_on.save_checkpoint(resumed)

    one, two = read_checkpoint(whole), read_checkpoint(resumed)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks"):
        assert equal(one[part], two[part]), part
    assert list(one["state_dict"]) == [f"network.{key}" for key in network.state_dict()]
    for key, weight in network.state_dict().items():
        kept = one["state_dict"][f"network.{key}"]
        if key.startswith(("autoencoder", "encoder")):  # frozen: nothing is rounded
            assert torch.equal(kept, weight), key
    averages = one["callbacks"]["EMACallback"]["ema"]["shadow_params"]
    assert {average.dtype for average in averages} == {torch.float32}
    exported, _ = network_from_checkpoint(one, use_ema=True)
    assert not torch.equal(exported.unet.conv_in.weight, network.unet.conv_in.weight)


@pytest.mark.filterwarnings("ignore:You defined a .validation_step.")
def test_checkpointing_and_the_place_of_the_average_change_no_bit(
    make: Maker, make_batch: BatchMaker, equal: Callable[[Any, Any], bool]
) -> None:
    plain, saving = make(), make()
    trained(plain, make_batch, {}, "32-true", steps=2)
    trained(saving, make_batch, {"gradient_checkpointing": True}, "32-true", steps=2)
    assert equal(plain.state_dict(), saving.state_dict())


@pytest.mark.filterwarnings("ignore")
def test_attention_is_captured_from_compiled_blocks_without_compiling_again(
    make: Maker, make_batch: BatchMaker
) -> None:
    module, batch = make(), make_batch()
    settings = GridSettings(num_inference_steps=2, steps=(0,))
    plain = batch_grid(module.network, module.scheduler, batch, settings)
    counter = CompileCounter()
    Speed(compile="inductor").setup(Trainer(accelerator="cpu", logger=False), module, "fit")
    for block in module.network.unet.modules():
        if type(block).__name__ == "BasicTransformerBlock":
            block.compile(backend=counter, dynamic=False)
    with torch.no_grad():
        module.losses(batch, module.objective)
    compiled = counter.frame_count
    assert compiled > 0
    for _ in range(2):
        assert torch.equal(batch_grid(module.network, module.scheduler, batch, settings), plain)
    assert counter.frame_count == compiled
    assert {type(layer.processor).__name__ for _, layer in module.network.cross_attention_layers()}


def test_16_bits_lose_the_papers_updates_and_the_average_does_not(make: Maker) -> None:
    module = make().to(torch.bfloat16)
    ema = EMACallback(0.9)
    trainer: Any = type("T", (), {"global_step": 0})()
    ema.setup(trainer, module, "fit")
    start = [average.clone() for average in ema.ema.shadow_params]
    assert {average.dtype for average in start} == {torch.float32}
    for step in (1, 2):
        with torch.no_grad():
            for parameter in module.network.unet.parameters():
                parameter.mul_(1.0 + 2.0**-7)
        trainer.global_step = step
        ema.on_train_batch_end(trainer, module, None, None, 0)
    moved = [not torch.equal(a, b) for a, b in zip(start, ema.ema.shadow_params, strict=True)]
    assert any(moved)


SHARDS = ["experiment=tiny", "data.alignment.shards=a", "data.refinement.shards=b"]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed; give 32-true"),
        (["callbacks.speed.channels_last=true", "+trainer.strategy=fsdp"], "contiguous"),
        (["optimizer=adamw_8bit", "+trainer.strategy=fsdp"], "optimizer=adamw_8bit with"),
        (["optimizer=adamw_8bit", "callbacks.speed.channels_last=true"], "lies in memory"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(overrides: list[str], named: str) -> None:
    with pytest.raises(InputError, match=named):
        check_train_settings(compose_config("train", [*SHARDS, *overrides]))


def test_a_compiler_that_is_not_there_is_missed_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = compose_config("train", [*SHARDS, "callbacks.speed.compile=inductor"])

    def missing() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", missing)
    with pytest.raises(InputError, match=r"install g\+\+"):
        check_train_settings(config)


@pytest.mark.parametrize(
    ("make_part", "named"),
    [
        (lambda: Speed(compile="inductr"), "inductr is no backend"),
        (lambda: Speed(frozen_dtype="float16"), "float32 or bfloat16"),
        (lambda: EMACallback(0.9, "cuda:1"), "null or cpu"),
    ],
)
def test_values_that_are_unknown_are_refused(make_part: Callable[[], Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        make_part()


def test_without_bitsandbytes_the_way_out_is_named(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match=r"pip install 'refine-by-align\[8bit\]'"):
        make(adamw_8bit)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["trainer.precision=bf16-true"],
        [
            "trainer.precision=bf16-mixed",
            "callbacks.speed={gradient_checkpointing:true,channels_last:true,compile:aot_eager,"
            "frozen_dtype:bfloat16}",
        ],
    ],
)
def test_a_run_validates_shows_pictures_and_goes_on(
    overrides: list[str], tmp_path: Path, alignment_shards: Path, refinement_shards: Path
) -> None:
    command = [
        sys.executable, "train.py", "experiment=tiny", "run_name=made", f"runs_folder={tmp_path}",
        "global_batch=2", "per_device_batch=2", "validate_every_n_steps=2",
        "data.num_validation_samples=2", "data.num_workers=0", "validation.picture_steps=1",
        "model.network.unet.architecture.block_out_channels=[16,16,16,16]",
        "model.network.shared_start=false", "callbacks.progress_log.every_n_steps=1",
        f"data.alignment.shards={alignment_shards}",
        f"data.refinement.shards={refinement_shards}",
        f"data.refinement.validation_shards={refinement_shards}",
    ]  # fmt: skip
    for steps, resume in ((2, []), (4, ["resume=auto"])):
        done = subprocess.run(
            [*command, f"max_steps={steps}", *overrides, *resume],
            cwd=CONFIG_FOLDER.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    rows = list(csv.DictReader((tmp_path / "made" / "metrics.csv").read_text().splitlines()))
    losses = [float(row["validation/loss_refinement"]) for row in rows
              if row.get("validation/loss_refinement")]  # fmt: skip
    assert len(losses) == 2
    assert np.isfinite(losses).all()
