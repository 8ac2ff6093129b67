"""The paper's network at its full size: read from disk, one forward and backward pass."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rba.settings import CONFIG_FOLDER

# Folders in the layouts of Stable Diffusion 1.5 and DINOv2 ViT-L/14, in 16 bits, without meaning.
WRITE = """
import sys, torch
from diffusers import DDIMScheduler
from rba.settings import build, compose_config, without_sources
from rba.training.check import on_meta

folder, shards = sys.argv[1], ["data.alignment.shards=a", "data.refinement.shards=b"]
config = compose_config("train", ["experiment=paper", *shards])
bare = without_sources(config.model.network)
bare.unet.architecture.in_channels = 4
tile = 0.02 * torch.randn(2**20, generator=torch.Generator().manual_seed(0))
for name, where in {"autoencoder": "vae", "unet": "unet", "encoder": "dinov2"}.items():
    part = on_meta(lambda: build(bare[name])).to(torch.float16).to_empty(device="cpu")
    for key, weight in part.state_dict().items():
        if weight.ndim > 1:
            times = weight.numel() // len(tile) + 1
            weight.copy_(tile.repeat(times)[: weight.numel()].view_as(weight))
        else:
            weight.fill_(1.0 if "norm" in key and key.endswith("weight") else 0.02)
    part.save_pretrained(f"{folder}/{where}" if where == "dinov2" else f"{folder}/sd/{where}")
schedule = {k: v for k, v in config.model.scheduler.items() if k != "_target_"}
DDIMScheduler(**schedule).save_pretrained(f"{folder}/sd/scheduler")
"""

STEP = """
import json, resource, sys
import numpy as np, torch
from rba.batch import Batch, Example, Mode
from rba.settings import (
    build, check_train_settings, compose_config, plain, require_sources, without_sources
)
from rba.training.check import on_meta
from rba.training.memory import MemorySettings, memory_estimate
from rba.training.module import RefineByAlignModule

folder, side = sys.argv[1], 128
config = compose_config("train", [
    "experiment=paper", "trainer=cpu", f"model.image_size={side}", f"model.source={folder}/sd",
    f"model.network.encoder.source={folder}/dinov2",
    "data.alignment.shards=a", "data.refinement.shards=b",
])
check_train_settings(config)
require_sources(config.model)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
facts = {"imported": peak()}
network = build(config.model.network)
facts |= {"loaded": peak(), "dtypes": sorted({str(p.dtype) for p in network.parameters()})}
module = RefineByAlignModule(
    network, build(config.model.scheduler), build(config.objective.loss),
    optimizer=build(config.optimizer.factory),
    learning_rates=plain(config.optimizer.learning_rates),
)
rng, mask = np.random.default_rng(0), np.zeros((side, side), bool)
mask[32:64, 32:64] = True
batch = Batch.collate(Mode.ALIGNMENT, [Example(
    image=rng.integers(0, 256, (side, side, 3), np.uint8), artifact_mask=mask,
    reference=rng.integers(0, 256, (224, 224, 3), np.uint8),
    reference_mask=np.ones((224, 224), bool),
    correspondence_mask=np.zeros((224, 224), np.float32), correspondence_known=False,
    draw=0, sample_id="made/0/0",
)])
module.train()
loss = module.training_step(batch, 0)
loss.backward()
stepped = peak()
shapes = on_meta(lambda: build(without_sources(config.model.network)))
outline = RefineByAlignModule(
    shapes, module.scheduler, module.objective, optimizer=build(config.optimizer.factory),
    learning_rates=plain(config.optimizer.learning_rates),
)
trained = [p for p in network.parameters() if p.requires_grad]
settings = MemorySettings(image_size=side, per_device_batch=1, average=False, gpu=False)
facts |= {"estimate": memory_estimate(outline, settings)}
facts |= {
    "loss": float(loss), "stepped": stepped, "trained": sum(p.numel() for p in trained),
    "parameters": sum(p.numel() for p in network.parameters()),
    "without_gradient": sum(p.grad is None for p in trained),
    "finite": all(bool(p.grad.isfinite().all()) for p in trained if p.grad is not None),
    "widened": float(network.unet.conv_in.weight[:, 4:].abs().max()),
}
print(json.dumps(facts))
"""


def run(script: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=CONFIG_FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_all_860_million_weights_with_dinov2_large_take_a_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(WRITE, tmp_path)
    facts = json.loads(run(STEP, tmp_path).splitlines()[-1])
    taken = facts["stepped"] - facts["imported"]
    estimate = sum(facts["estimate"][name] for name in ("weights", "gradients", "activations"))
    with capsys.disabled():
        print(
            f"\nfull size on the CPU, float32, 128 px, batch 1: peak memory {facts['loaded']:.1f} "
            f"GiB when loaded, {facts['stepped']:.1f} GiB after forward and backward; "
            f"{taken:.2f} GiB without imports, estimated {estimate:.2f}"
        )
    assert 0.85 * taken < estimate < 1.1 * taken
    assert facts["parameters"] == 83_653_863 + 304_368_640 + 1_841_152 + 859_535_364
    assert facts["trained"] == 1_841_152 + 859_535_364
    assert facts["dtypes"] == ["torch.float32"]  # what the files' 16 bits become
    assert facts["widened"] == 0.0  # channels that the weights on disk do not have
    assert facts["finite"]
    assert facts["without_gradient"] == 0
    assert 0.0 < facts["loss"] < 100.0
    # float32 weights, and gradients of what is trained, are 8.4 GB.
    assert facts["stepped"] < 12.0
