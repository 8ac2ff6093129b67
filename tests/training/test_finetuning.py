"""Runs that train some parts alone: what they change, save, resume from and become."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from rba.batch import Batch
from rba.errors import InputError
from rba.inference.export import export_adapter, export_checkpoint
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import read_checkpoint
from rba.models.lora import ADAPTER_FILE, LoraSettings
from rba.models.network import RefinementNetwork
from rba.models.restore import load_start, network_from_checkpoint
from rba.training.callbacks.ema import EMACallback
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint
from rba.training.callbacks.speed import Speed
from rba.training.checkpoint_io import AtomicCheckpointIO
from rba.training.first_weights import prepare_network, require_fitting_choice
from rba.training.loss import Objective
from rba.training.module import RefineByAlignModule

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
    pytest.mark.filterwarnings("ignore:.*Skipping val loop"),
]
MakeBatch = Callable[..., Batch]
LORA: dict[str, Any] = {"rank": 2, "alpha": 4.0, "dropout": 0.25, "targets": ["to_q", "to_v"]}


@pytest.fixture
def base(network: RefinementNetwork, scheduler: Any, tmp_path: Path) -> Path:
    """The model directory that a run starts from."""
    pipeline = RefineByAlignPipeline.from_network(network, scheduler, image_size=32)
    pipeline.write(tmp_path / "base")
    return tmp_path / "base"


class Run:
    """A run of one configuration, in a folder of its own."""

    def __init__(
        self, folder: Path, base: str | None, parts: list[str] | None, **changes: Any
    ) -> None:
        self.folder = folder
        self.speed: dict[str, Any] = changes.pop("speed", {})
        network = {name: {"source": None} for name in ("unet", "connector", "encoder")}
        self.config: dict[str, Any] = {
            "init_from": base, "init_weights": "ema", "train_parts": parts, "lora": LORA,
            "model": {"network": network},
        } | changes  # fmt: skip
        self.module: Any = None

    def train(
        self, network: RefinementNetwork, scheduler: Any, make_batch: MakeBatch, steps: int,
        start: Path | None = None,
    ) -> Path:  # fmt: skip
        torch.manual_seed(7)  # as `seed_everything` does at each start
        for parameter in network.parameters():  # as building anew does
            parameter.data.normal_(std=0.1)
        lora = LoraSettings(**self.config["lora"])
        facts = {"image_size": 32, "config": self.config}
        facts |= prepare_network(network, self.config, lora, start)
        rates = dict.fromkeys(("connector", "unet", "lora"), 1e-2)
        self.module = RefineByAlignModule(
            network, scheduler, Objective(), optimizer=functools.partial(torch.optim.AdamW),
            learning_rates=rates, facts=facts,
        )  # fmt: skip
        trainer = Trainer(
            accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False,
            callbacks=[Speed(**self.speed), EMACallback(0.5), ResumeCheckpoint(self.folder, 100)],
            plugins=[AtomicCheckpointIO()], enable_progress_bar=False, enable_checkpointing=False,
            enable_model_summary=False, gradient_clip_val=1.0,
        )  # fmt: skip
        first = 0 if start is None else int(start.stem[5:])
        batches: Any = [make_batch(first=2 * s, size=2) for s in range(first, first + 9)]
        loader = DataLoader[Any](batches, batch_size=None)
        trainer.fit(self.module, loader, ckpt_path=start, weights_only=True)
        return self.folder / f"step_{steps:08d}.ckpt"


@pytest.fixture
def train(
    network: RefinementNetwork, scheduler: Any, make_batch: MakeBatch, base: Path
) -> Callable[..., Path]:
    def train(run: Run, steps: int, start: Path | None = None) -> Path:
        return run.train(copy.deepcopy(network), scheduler, make_batch, steps, start)

    return train


def test_a_resumed_run_of_adapters_equals_one_in_one_go_and_saves_nothing_else(
    train: Callable[..., Path], base: Path, tmp_path: Path, equal: Callable[[Any, Any], bool]
) -> None:
    """With dropout, whose draws are keyed like all others."""
    whole = read_checkpoint(train(Run(tmp_path / "a", str(base), ["lora"]), 4))
    half = Run(tmp_path / "b", str(base), ["lora"])
    start = train(half, 2)
    rest = read_checkpoint(train(half, 4, start))
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "rba"):
        assert equal(whole[part], rest[part]), part
    assert not equal(whole["state_dict"], read_checkpoint(start)["state_dict"])
    names = set(whole["state_dict"])
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert len(whole["callbacks"]["EMACallback"]["ema"]["shadow_params"]) == len(names)
    (group,) = whole["optimizer_states"][0]["param_groups"]
    assert (group["name"], len(group["params"])) == ("lora", len(names))
    assert start.stat().st_size < (base / "unet/diffusion_pytorch_model.safetensors").stat().st_size


@pytest.mark.parametrize("parts", [["cross_attention", "connector"], ["lora"]])
def test_frozen_tensors_keep_every_bit(
    train: Callable[..., Path], network: RefinementNetwork, base: Path, tmp_path: Path,
    parts: list[str],
) -> None:  # fmt: skip
    run = Run(tmp_path / "run", str(base), parts)
    path = train(run, 2)
    before, after = network.state_dict(), run.module.network.state_dict()
    saved = {name.removeprefix("network.") for name in read_checkpoint(path)["state_dict"]}
    for name, value in after.items():
        old = before.get(name.replace(".base_layer.", "."))
        if name in saved:
            assert old is None or not torch.equal(old, value), name
        else:
            assert old is not None, name
            assert torch.equal(old, value), name


def test_an_export_merges_the_adapters_and_writes_them_alone(
    train: Callable[..., Path], base: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run", str(base), ["lora"], lora=LORA | {"dropout": 0.0})
    path = train(run, 3)
    export_checkpoint(path, tmp_path / "merged", use_ema=False)
    export_adapter(path, tmp_path / "adapter", use_ema=False)
    trained, merged = run.module.network.eval(), RefineByAlignPipeline.open(tmp_path / "merged")
    alone = RefineByAlignPipeline.open(base)
    inputs = (torch.randn(1, 97, 8, 8), torch.tensor([500]))
    tokens = torch.randn(1, 16, 16)

    @torch.no_grad()
    def predict(unet: Any) -> torch.Tensor:
        return unet(*inputs, encoder_hidden_states=tokens).sample

    expected, before = predict(trained.unet), predict(alone.unet)
    assert (expected - before).abs().max() > 1e-3
    torch.testing.assert_close(predict(merged.unet), expected, rtol=1e-4, atol=1e-5)
    alone.unet.load_lora_adapter(tmp_path / "adapter", prefix="unet", weight_name=ADAPTER_FILE)
    torch.testing.assert_close(predict(alone.unet), expected, rtol=1e-4, atol=1e-5)
    assert [p.name for p in (tmp_path / "adapter").iterdir()] == [ADAPTER_FILE]


@pytest.mark.filterwarnings("ignore")  # what aot_eager says of itself
@pytest.mark.parametrize(
    "speed",
    [
        {"gradient_checkpointing": True},
        pytest.param({"compile": "aot_eager"}, marks=pytest.mark.slow),
        pytest.param(
            {"compile": "aot_eager", "gradient_checkpointing": True}, marks=pytest.mark.slow
        ),
    ],
    ids=["checkpointing", "compiled", "both"],
)
def test_adapters_learn_the_same_with_checkpointing_and_compiled(
    train: Callable[..., Path], base: Path, tmp_path: Path, speed: dict[str, Any]
) -> None:
    lora = LORA | {"dropout": 0.0}
    plain = train(Run(tmp_path / "plain", str(base), ["lora"], lora=lora), 3)
    other = train(Run(tmp_path / "other", str(base), ["lora"], lora=lora, speed=speed), 3)
    expected, found = (read_checkpoint(path)["state_dict"] for path in (plain, other))
    assert found.keys() == expected.keys()
    for name, adapter in expected.items():
        torch.testing.assert_close(found[name], adapter, rtol=1e-4, atol=1e-5, msg=name)
    assert other.stat().st_size < 1.1 * plain.stat().st_size
    unets: list[Any] = []
    for path in (plain, other):
        export_checkpoint(path, path.with_suffix(""), use_ema=True)
        unets.append(RefineByAlignPipeline.open(path.with_suffix("")).unet)
    before = RefineByAlignPipeline.open(base).unet.state_dict()[CHANGED.removeprefix("unet.")]
    merged = [unet.state_dict()[CHANGED.removeprefix("unet.")] for unet in unets]
    torch.testing.assert_close(*merged, rtol=1e-4, atol=1e-5)
    assert (merged[0] - before).abs().max() > 1e-3


def test_the_weights_that_a_run_began_with_must_be_there_and_the_same(
    train: Callable[..., Path], network: RefinementNetwork, scheduler: Any, base: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    run = Run(tmp_path / "run", str(base), ["lora"])
    path = train(run, 1)
    moved, other = tmp_path / "moved", tmp_path / "other"
    base.rename(moved)
    with pytest.raises(InputError, match=r"the run began with .*base.* with --base"):
        export_checkpoint(path, tmp_path / "out", use_ema=True)
    export_checkpoint(path, tmp_path / "out", use_ema=True, base=str(moved))
    with torch.no_grad():
        network.unet.conv_out.bias += 1.0
    RefineByAlignPipeline.from_network(network, scheduler, image_size=32).write(other)
    words = "other: the frozen weights of unet are not those that the run began with"
    with pytest.raises(InputError, match=words):
        export_checkpoint(path, tmp_path / "out2", use_ema=True, base=str(other))
    with pytest.raises(InputError, match=words):
        train(Run(tmp_path / "run", str(other), ["lora"]), 2, path)
    train(Run(tmp_path / "run", str(moved), ["lora"]), 2, path)


def test_a_resume_with_other_parts_is_refused_by_name(
    train: Callable[..., Path], base: Path, tmp_path: Path
) -> None:
    path = train(Run(tmp_path / "run", str(base), ["lora"]), 1)

    def refused(words: str, start: Path | None = path, **changes: Any) -> None:
        config = Run(tmp_path, str(base), ["lora"]).config | changes
        with pytest.raises(InputError, match=words):
            require_fitting_choice(config, start)

    refused(r"train_parts was \['lora'\], is \['lora', 'connector'\]",
            train_parts=["lora", "connector"])  # fmt: skip
    refused(r"train_parts was \['lora'\], is None", train_parts=None)
    refused("lora.rank was 2, is 4", lora=LORA | {"rank": 4})
    refused("lora.alpha was 4.0, is 1.0; lora.targets was", lora=LORA | {"alpha": 1.0,
            "targets": ["to_q"]})  # fmt: skip
    sources = {name: {"source": "a/b"} for name in ("unet", "connector", "encoder")}
    refused("init_from was .*base, is None", init_from=None, model={"network": sources})
    refused("random weights", None, init_from=None)
    changed = Run(tmp_path, str(base), ["lora"]).config | {"lora": LORA | {"dropout": 0.0}}
    require_fitting_choice(changed, path)


def test_a_run_starts_from_a_checkpoint_averaged_or_raw(
    train: Callable[..., Path],
    network: RefinementNetwork,
    base: Path,
    tmp_path: Path,
    equal: Callable[[Any, Any], bool],
) -> None:
    """Of adapters too: they are merged."""
    path = train(Run(tmp_path / "run", str(base), ["lora"]), 3)
    found: list[torch.Tensor] = []
    for use_ema in (True, False):
        expected, _ = network_from_checkpoint(read_checkpoint(path), use_ema=use_ema)
        load_start(network, str(path), use_ema=use_ema)
        assert equal(dict(network.state_dict()), dict(expected.state_dict()))
        found.append(dict(network.named_parameters())[CHANGED].detach().clone())
    assert not torch.equal(*found)
    second = train(Run(tmp_path / "second", str(path), ["connector"], init_weights="raw"), 1)
    facts = read_checkpoint(second)["rba"]["base"]
    assert (facts["init_from"], facts["init_weights"]) == (str(path), "raw")
    export_checkpoint(second, tmp_path / "out", use_ema=False)
    kept = RefineByAlignPipeline.open(tmp_path / "out").network.state_dict()[CHANGED]
    assert torch.equal(kept, found[1])


CHANGED = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight"
