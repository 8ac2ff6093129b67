"""`rba export` as typed: what it writes, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rba.cli import main
from rba.errors import InputError
from rba.inference.export import PRECISIONS, export_checkpoint
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.checkpoint import describe_scheduler
from rba.models.model_directory import load_weights
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


@pytest.fixture
def saved(checkpoint: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "step.ckpt"
    torch.save(checkpoint, path)
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a model directory by ``part.name``."""
    return {
        f"{path.parent.name}.{name}": tensor
        for path in sorted(folder.glob("*/*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def text_of_configurations(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.rglob("*.json")))


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_precision_is_written_and_opens_as_float32(
    saved: Path, model_folder: Path, tmp_path: Path, dtype: str
) -> None:
    folder = tmp_path / dtype
    assert export(saved, folder, "--raw", f"--dtype={dtype}") == 0
    exact, written = weights(model_folder), weights(folder)
    assert set(written) == set(exact)
    assert {tensor.dtype for tensor in written.values()} == {PRECISIONS[dtype]}
    size = sum(tensor.nbytes for tensor in written.values())
    assert size == sum(tensor.numel() for tensor in exact.values()) * PRECISIONS[dtype].itemsize
    for name, tensor in exact.items():
        assert torch.equal(written[name], tensor.to(PRECISIONS[dtype])), name

    original = RefineByAlignPipeline.open(model_folder).network.state_dict()
    started = RefineByAlignPipeline.open(model_folder).network
    load_weights(started, folder)  # what init_from does
    opened = RefineByAlignPipeline.open(folder).network
    plain = RefineByAlignPipeline.from_pretrained(folder).network
    for network in (opened, plain, started):
        state = network.state_dict()
        assert set(state) == set(original)
        for name, tensor in original.items():
            assert state[name].dtype == torch.float32, name
            assert torch.equal(state[name], tensor.to(PRECISIONS[dtype]).float()), name


def test_without_a_precision_float32_is_written(saved: Path, tmp_path: Path) -> None:
    assert export(saved, tmp_path / "model") == 0
    assert {tensor.dtype for tensor in weights(tmp_path / "model").values()} == {torch.float32}


def test_a_half_precision_folder_opens_in_a_fresh_process(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    assert export(saved, folder, "--raw", "--dtype=float16") == 0
    code = (
        "from rba.inference.pipeline import RefineByAlignPipeline as P\n"
        "for p in (P.open('half'), P.from_pretrained('half', local_files_only=True)):\n"
        "    parts = [p.network.get_submodule(n) for n in ('autoencoder','encoder','connector')]\n"
        "    print({str(w.dtype) for m in (*parts, p.unet) for w in m.parameters()})\n"
    )
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["{'torch.float32'}"] * 2


def test_the_folder_says_nothing_of_this_machine_and_is_the_same_twice(
    saved: Path, tmp_path: Path
) -> None:
    def card(folder: Path) -> Path:
        return folder / "README.md"

    def contents(folder: Path) -> dict[str, bytes]:
        files = (path for path in folder.rglob("*") if path.is_file() and path != card(folder))
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    first, second, rewritten = tmp_path / "a" / "first", tmp_path / "second", tmp_path / "rewritten"
    for folder in (first, second):
        assert export(saved, folder, "--raw") == 0
    assert contents(first) == contents(second)
    assert card(first).read_text() == card(second).read_text()
    assert str(tmp_path) not in card(first).read_text()
    RefineByAlignPipeline.open(first).write(rewritten)
    assert contents(rewritten) == contents(first)
    RefineByAlignPipeline.from_pretrained(first).write(rewritten)
    assert contents(rewritten) == contents(first)
    assert "_name_or_path" not in text_of_configurations(rewritten)
    assert str(tmp_path) not in text_of_configurations(rewritten)


def test_settings_are_written_without_touching_weights_and_other_files(
    saved: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "half"
    assert export(saved, folder, "--raw", "--dtype=float16") == 0
    (folder / "README.md").write_text("a card")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    pipeline = RefineByAlignPipeline.open(folder)
    pipeline.register_to_config(sampler_step_index=7, layer=3)
    pipeline.write_settings(folder)
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after[path]} == {"model_index.json"}
    assert set(after) == set(before)
    index = json.loads((folder / "model_index.json").read_text())
    was = json.loads(before[folder / "model_index.json"])
    assert index == was | {"sampler_step_index": 7, "layer": 3}
    alignment = RefineByAlignPipeline.open(folder).settings().alignment
    assert (alignment.sampler_step_index, alignment.layer) == (7, 3)


@pytest.mark.parametrize(
    ("value", "dtype", "words"),
    [
        (70000.0, "float16", "reaches 7e+04, float16 ends at 6.55e+04; export it with --dtype"),
        (float("nan"), "float32", "not finite: training diverged"),
        (float("-inf"), "bfloat16", "not finite: training diverged"),
    ],
)
def test_weights_that_would_not_be_numbers_are_refused_with_their_name(
    checkpoint: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    value: float,
    dtype: str,
    words: str,
) -> None:
    checkpoint["state_dict"]["network.unet.conv_in.weight"][3, 2, 1, 0] = value
    path, output = tmp_path / "step.ckpt", tmp_path / "out"
    torch.save(checkpoint, path)
    assert export(path, output, "--raw", f"--dtype={dtype}") == 2
    error = capsys.readouterr().err
    assert "unet.conv_in.weight" in error
    assert words in error
    assert not output.exists()
    if value == 70000.0:
        assert export(path, output, "--raw", "--dtype=bfloat16") == 0


def test_an_unknown_precision_is_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dtype='int8' is unknown; choose float32, float16, bf"):
        export_checkpoint(saved, tmp_path / "out", use_ema=False, dtype="int8")


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
