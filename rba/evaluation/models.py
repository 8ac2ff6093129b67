"""A model directory that is named first and opened when its first row is due."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline
from rba.models.model_directory import describe_folder
from rba.models.shipped import INDEX_NAME, resolve_model


class LazyModel:
    """A model directory, checked at once; its weights are loaded when they are asked for.

    Args:
        name: Folder, or the name of a shipped model.
        device: Where it runs.

    Attributes:
        folder: The model directory.
        digest: SHA-256 over index, configurations and weights.
        index: ``model_index.json``: sizes and calibration.

    Raises:
        InputError: If it is no model directory of this framework.
    """

    def __init__(self, name: str | Path, device: torch.device) -> None:
        self.folder = resolve_model(name)
        describe_folder(self.folder)
        self.index: dict[str, Any] = json.loads(
            (self.folder / INDEX_NAME).read_text(encoding="utf-8")
        )
        self.digest = _digest(self.folder, self.index)
        self._device = device
        self._pipeline: RefineByAlignPipeline | None = None

    def open(self) -> RefineByAlignPipeline:
        """Return the pipeline on its device."""
        if self._pipeline is None:
            pipeline = RefineByAlignPipeline.open(self.folder).to(self._device)
            pipeline.set_progress_bar_config(disable=True)
            self._pipeline = pipeline
        return self._pipeline

    def close(self) -> None:
        """Let the weights go; `open` loads them again."""
        self._pipeline = None


def _digest(folder: Path, index: dict[str, Any]) -> str:
    parts = sorted(name for name, value in index.items() if isinstance(value, list))
    digest = hashlib.sha256()
    for path in [folder / INDEX_NAME, *(p for name in parts for p in _files(folder / name))]:
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()


def _files(part: Path) -> list[Path]:
    found = sorted(path for path in part.glob("*") if path.suffix in (".json", ".safetensors"))
    if not found:
        raise InputError(f"{part} holds no configuration; `rba export` writes whole directories")
    return found
