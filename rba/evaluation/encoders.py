"""Encoders of pictures that judge similarity: DINO, DINOv2 and CLIP, from local folders alone."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rba.errors import InputError
from rba.geometry import resize
from rba.inference.model_files import without_library_bars
from rba.models.sources import load_pretrained

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_SIDE = 224  # pixels; DINOv2's weights are of 518, its features at 224 are what papers report
_SIZES = {384: "s", 768: "b", 1024: "l", 1280: "h", 1536: "g"}  # width of a ViT: its letter
_DINO_KINDS = {
    "dinov2": ("dinov2", "Dinov2Model"),
    "dinov2_with_registers": ("dinov2reg", "Dinov2WithRegistersModel"),
    "vit": ("dino", "ViTModel"),
}
_CLIP_KINDS = {"clip": "CLIPModel", "clip_vision_model": "CLIPVisionModelWithProjection"}


class PictureEncoder:
    """One vector a picture; the weights are loaded at the first one.

    Attributes:
        name: Model and input size, ``dinov2_vits14_224``: what the figures' names pin.
        side: Input side in pixels.

    Args:
        folder: Local transformers folder.
        name: As above.
        side: As above.
        class_name: The transformers class.
        device: Where it runs.
    """

    def __init__(
        self, folder: Path, name: str, side: int, class_name: str, device: torch.device
    ) -> None:
        self.name = name
        self.side = side
        self._folder = folder
        self._class = class_name
        self._device = device

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Encode a picture, resized to side x side (by area when it shrinks, else cubic).

        DINO: the class token after the last normalisation. CLIP: the projected image embedding.

        Args:
            picture: HxWx3 uint8, square.

        Returns:
            [C] float32.
        """
        clip = self._class.startswith("CLIP")
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (_CLIP if clip else _IMAGENET))
        fitted = torch.from_numpy(resize(picture, self.side, self.side)).permute(2, 0, 1)
        pixels = ((fitted / 255.0 - mean) / std)[None].to(self._device)
        with torch.inference_mode():
            features = self._features(pixels, clip)
        return features[0].float().cpu().numpy()

    def _features(self, pixels: Tensor, clip: bool) -> Tensor:
        if clip:
            return self._model.visual_projection(self._model.vision_model(pixels).pooler_output)
        return self._model(pixel_values=pixels).last_hidden_state[:, 0]

    @functools.cached_property
    def _model(self) -> Any:
        import transformers

        with without_library_bars():
            model = load_pretrained(getattr(transformers, self._class), str(self._folder))
        return model.float().eval().to(self._device)


def open_dino(folder: str, device: torch.device) -> PictureEncoder:
    """Open DINO or DINOv2; reads the configuration alone.

    Raises:
        InputError: If the folder holds neither.
    """
    config = _read_config("--dino", folder)
    kind = config.get("model_type")
    if kind not in _DINO_KINDS:
        raise InputError(
            f"--dino {folder} holds {kind}; give a folder of one of {', '.join(_DINO_KINDS)}"
        )
    family, class_name = _DINO_KINDS[kind]
    patch = config.get("patch_size", 14)
    side = config.get("image_size", _SIDE) if kind == "vit" else max(_SIDE // patch, 1) * patch
    name = f"{family}_{_vit(config.get('hidden_size', 768), patch)}_{side}"
    return PictureEncoder(Path(folder), name, side, class_name, device)


def open_clip(folder: str, device: torch.device) -> PictureEncoder:
    """Open CLIP's image encoder; reads the configuration alone.

    Raises:
        InputError: If the folder holds none.
    """
    config = _read_config("--clip", folder)
    kind = config.get("model_type")
    if kind not in _CLIP_KINDS:
        raise InputError(
            f"--clip {folder} holds {kind}; give a folder of CLIP, for example "
            "openai/clip-vit-base-patch32"
        )
    vision = config.get("vision_config", config)
    patch, side = vision.get("patch_size", 32), vision.get("image_size", _SIDE)
    name = f"clip_{_vit(vision.get('hidden_size', 768), patch)}_{side}"
    return PictureEncoder(Path(folder), name, side, _CLIP_KINDS[kind], device)


def _vit(width: int, patch: int) -> str:
    return f"vit{_SIZES.get(width, f'w{width}p')}{patch}"


def _read_config(option: str, folder: str) -> Mapping[str, Any]:
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{option} {folder} is not a folder; give a local transformers folder")
    try:
        config: Any = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {folder} has no readable config.json: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{option} {folder}: its config.json is no object")
    if not any(path.glob("*.safetensors")) and not any(path.glob("pytorch_model*.bin")):
        raise InputError(f"{option} {folder} holds no weights; expected model.safetensors")
    return config
