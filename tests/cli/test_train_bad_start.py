"""train.py with shards, folders, checkpoints or weights that are not what they should be."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from rba.data.writer import MANIFEST_NAME
from rba.models.checkpoint import describe_scheduler
from rba.settings import build, without_sources
from rba.training.check import on_meta

Train = Callable[..., None]
Refused = Callable[..., str]


def comes_to_its_weights(train: Train, *more: str) -> None:
    with pytest.raises(Exception, match="everything was accepted"):
        train(*more)


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST_NAME).unlink()


def cut_a_tar(folder: Path) -> None:
    path = sorted(folder.glob("*.tar"))[0]
    path.write_bytes(path.read_bytes()[:-512])


def remove_an_index(folder: Path) -> None:
    sorted(folder.glob("*.index.npy"))[0].unlink()


def write_manifest(content: object) -> Callable[[Path], None]:
    return lambda folder: Path(folder / MANIFEST_NAME).write_text(json.dumps(content)) and None


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove_manifest, "has no manifest.json"),
        (cut_a_tar, "its manifest says"),
        (remove_an_index, "is listed in the manifest but missing"),
        (write_manifest([]), "is not a manifest"),
        (write_manifest({"schema_version": 1, "kind": "alignment", "shards": 5}), "manifest"),
        (write_manifest({"schema_version": 1, "kind": [], "shards": []}), "kind"),
        (write_manifest({"schema_version": 9, "kind": "alignment", "shards": []}), "schema 9"),
    ],
)
def test_shards_that_are_not_whole(
    refused: Refused,
    alignment_shards: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    words: str,
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(alignment_shards, folder)
    damage(folder)
    message = refused(f"data.alignment.shards={folder}")
    assert words in message
    assert str(folder) in message


def test_shards_that_are_none_or_of_the_other_kind(
    refused: Refused, refinement_shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no manifest" in refused(f"data.alignment.shards={tmp_path}/empty")
    assert "no shard matches" in refused(f"data.alignment.shards={tmp_path}/empty/*.tar")
    assert "does not exist" in refused(f"data.alignment.shards={tmp_path}/nowhere")
    other = refused(f"data.alignment.shards={refinement_shards}")
    assert "holds refinement shards" in other
    assert "build_alignment_shards" in other


def test_sets_of_equal_names_are_fine_but_validating_on_training_shards_is_said(
    train: Train,
    alignment_shards: Path,
    refinement_shards: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, source in {"a/set": alignment_shards, "b/set": refinement_shards}.items():
        shutil.copytree(source, tmp_path / name)
    sets = [f"data.alignment.shards={tmp_path}/a/set", f"data.refinement.shards={tmp_path}/b/set"]
    comes_to_its_weights(train, *sets)
    assert "validation" not in caplog.text
    (tmp_path / "link").symlink_to(tmp_path / "b" / "set")
    train(*sets, f"data.refinement.validation_shards={tmp_path}/link", "check=true")
    assert "b/set/refinement-000000.tar is in data.refinement.shards and in its" in caplog.text


@pytest.mark.parametrize("place", ["runs", "runs/tiny", "runs/tiny/checkpoints"])
def test_a_file_where_the_run_wants_a_folder(refused: Refused, tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("kept")
    assert f"{path} is not a folder" in refused()
    assert path.read_text() == "kept"


@pytest.fixture
def checkpoint(composed: Callable[..., DictConfig]) -> dict[str, Any]:
    """A checkpoint of the usual command's network, of two steps and without weights."""
    config = composed()
    network: Any = on_meta(lambda: build(without_sources(config.model.network)))
    facts = {
        "network": network.describe(),
        "scheduler": describe_scheduler(build(config.model.scheduler)),
        "reference_size": network.reference_size,
        "train_encoder": network.train_encoder,
        "image_size": 32,
    }
    return {"rba": facts, "state_dict": {}, "global_step": 2}


def test_a_run_name_used_before_needs_resume(
    train: Train,
    refused: Refused,
    checkpoint: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    comes_to_its_weights(train, "resume=auto")
    path = tmp_path / "runs/tiny/checkpoints/step_00000002.ckpt"
    torch.save(checkpoint, path)
    message = refused()
    assert "already holds step_00000002.ckpt" in message
    assert "resume=auto" in message
    comes_to_its_weights(train, "resume=auto", "max_steps=3")
    assert "max_steps" not in capsys.readouterr().out
    comes_to_its_weights(train, "resume=auto", "max_steps=2")
    assert "has reached max_steps=2" in capsys.readouterr().out


def test_checkpoints_that_cannot_be_resumed(
    refused: Refused, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "step.ckpt"
    torch.save(checkpoint, path)
    data = path.read_bytes()
    for content in (b"", b"junk", data[: len(data) // 2]):
        path.write_bytes(content)
        assert "damaged or was cut short" in refused(f"resume={path}")
    for content in ([1], {"a": 1}, {"rba": {}, "state_dict": {}, "global_step": 1}):
        torch.save(content, path)
        assert "not a checkpoint of this framework" in refused(f"resume={path}")
    assert "is no file" in refused(f"resume={tmp_path}")
    torch.save(checkpoint, path)
    other = "model.network.connector.hidden_features=5"
    assert "there, 5 here" in refused(f"resume={path}", other)
    frozen = [
        "model.network.train_encoder=false",
        "~optimizer.learning_rates.encoder",
        "objective.loss.correspondence_weight=0",
    ]
    assert "train_encoder is True there" in refused(f"resume={path}", *frozen)
    both = refused(f"resume={path}", f"init_from={tmp_path}")
    assert "not a model directory" in both


def test_a_damaged_checkpoint_of_the_right_length_is_found_by_its_check_sum(
    refused: Refused, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "step.ckpt"
    torch.save({**checkpoint, "state_dict": {"network.x": torch.arange(1000)}}, path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/0"))
        data[archive.getinfo(name).header_offset + 4000] ^= 255
    path.write_bytes(data)
    assert "check sums" in refused(f"resume={path}")


def test_weights_to_start_from_must_be_of_the_same_architecture(
    refused: Refused, model_folder: Path, tmp_path: Path
) -> None:
    message = refused(f"init_from={model_folder}")
    assert "unet.block_out_channels is [8, 8, 8, 8] there, [32, 32, 32, 32] here" in message
    assert "choose the model configuration" in message
    assert "not a model directory" in refused(f"init_from={tmp_path}")
    broken = tmp_path / "broken"
    shutil.copytree(model_folder, broken)
    (broken / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert "holds no weights" in refused(f"init_from={broken}")
    (broken / "model_index.json").write_text("{")
    assert "is damaged" in refused(f"init_from={broken}")
