"""A checkpoint is whole or not there."""

from pathlib import Path

import pytest
import torch

from rba.training.checkpoint_io import AtomicCheckpointIO


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": torch.arange(3), "n": {"s": 1.5}}, path)
    loaded = AtomicCheckpointIO().load_checkpoint(path)
    assert torch.equal(loaded["x"], torch.arange(3))
    assert loaded["n"] == {"s": 1.5}
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)

    def full_disk(contents: object, file: object) -> None:
        file.write(b"half")  # type: ignore[attr-defined]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"x": 2}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_code_is_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"x": Path("somewhere")}, path)
    with pytest.raises(Exception, match="Weights only load failed"):
        AtomicCheckpointIO().load_checkpoint(path, weights_only=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_a_disk_that_is_full_while_tensors_are_written(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"x": 1}, path)
    (tmp_path / ".a.ckpt.partial").symlink_to("/dev/full")
    with pytest.raises((OSError, RuntimeError)):
        AtomicCheckpointIO().save_checkpoint({"x": torch.ones(1_000_000)}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
