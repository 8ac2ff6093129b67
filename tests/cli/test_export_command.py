"""`rba export` as typed: what it writes, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rba.cli import main
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import describe_scheduler
from rba.models.network import RefinementNetwork


def checkpoint_of(network: RefinementNetwork, scheduler: Any) -> dict[str, Any]:
    state = network.state_dict()
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    average = {"shadow_params": [torch.zeros_like(state[name]) for name in trained]}
    return {
        "state_dict": {f"network.{name}": value for name, value in state.items()},
        "global_step": 5,
        "callbacks": {"EMACallback": {"names": trained, "ema": average}},
        "rba": {
            "network": network.describe(),
            "scheduler": describe_scheduler(scheduler),
            "reference_size": network.reference_size,
            "train_encoder": True,
            "image_size": 32,
        },
    }


@pytest.fixture
def checkpoint(model_folder: Path) -> dict[str, Any]:
    pipeline = RefineByAlignPipeline.open(model_folder)
    network = pipeline.network
    network.encoder.requires_grad_(True)
    return checkpoint_of(network, pipeline.scheduler)


def export(path: Path, output: Path, *more: str) -> int:
    return main(["export", f"--checkpoint={path}", f"--output={output}", *more])


def test_export_writes_the_average_or_the_weights_as_they_are(
    checkpoint: dict[str, Any], model_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "step.ckpt"
    torch.save(checkpoint, path)
    assert export(path, tmp_path / "new" / "average") == 0
    assert export(path, tmp_path / "raw", "--raw") == 0
    name = "unet/diffusion_pytorch_model.safetensors"
    assert all((w == 0).all() for w in load_file(tmp_path / "new" / "average" / name).values())
    expected = load_file(model_folder / name)
    torch.testing.assert_close(load_file(tmp_path / "raw" / name), expected, rtol=0, atol=0)


def test_export_names_what_is_wrong(
    checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: Path, words: str, output: Path = tmp_path / "out", *more: str) -> None:
        assert export(path, output, *more) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert words in error
        assert not (tmp_path / "out").exists()

    def saved(name: str, value: object) -> Path:
        torch.save(value, tmp_path / name)
        return tmp_path / name

    whole = saved("whole.ckpt", checkpoint)
    data = whole.read_bytes()
    for name, content in {"junk": b"junk", "none": b"", "half": data[: len(data) // 2]}.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "damaged or was cut short")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 255
    (tmp_path / "flipped").write_bytes(flipped)
    refused(tmp_path / "flipped", "check sums")
    refused(tmp_path / "nowhere.ckpt", "does not exist")
    refused(saved("other.ckpt", {"weights": 1}), "no key 'rba'")
    refused(saved("list.ckpt", [1]), "no key 'rba'")
    refused(saved("bare.ckpt", {**checkpoint, "rba": {}}), "no key 'network'")
    refused(saved("empty.ckpt", {**checkpoint, "state_dict": {}}), "no whole network")
    refused(saved("plain.ckpt", {**checkpoint, "callbacks": {}}), "use --raw")
    refused(whole, "not empty", tmp_path)
    refused(whole, "not empty", whole)
    refused(whole, "give another path", tmp_path / "whole.ckpt" / "inside")
