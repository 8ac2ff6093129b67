"""The reference encoder: DINOv2 patch tokens, class and register tokens dropped.

Where no pretrained weights exist (the tiny scale), a SegFormer is trained in its place: its
overlapping patches learn what looks alike from far fewer pictures (docs/tiny-model.md).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SegformerConfig,
    SegformerModel,
)

from rba.errors import InputError
from rba.geometry import resize
from rba.models.positions import sincos_embedding
from rba.models.sources import (
    Architecture,
    check_source,
    load_pretrained,
    refuse_unknown,
    require_same,
    way_out,
)

# Larger than what the pixels give a random encoder: at first, tokens are told apart by place.
_POSITION_SCALE = 1.0

Encoder = Dinov2Model | Dinov2WithRegistersModel | SegformerModel

# By model_type: configuration and model.
ENCODERS: dict[str, tuple[Any, Any]] = {
    "dinov2": (Dinov2Config, Dinov2Model),
    "dinov2_with_registers": (Dinov2WithRegistersConfig, Dinov2WithRegistersModel),
    "segformer": (SegformerConfig, SegformerModel),
}

# Statistics of the pictures DINOv2 was trained on (ImageNet), for pixels in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def load_encoder(source: str | None, architecture: Architecture | None = None) -> Encoder:
    """Load DINOv2 (S, B, L, g; with or without registers) in float32, or build it at random.

    DINOv2's position embeddings that are not loaded start as sines and cosines
    (`sincos_embedding`) where the width is a multiple of 4.

    Args:
        source: Local transformers folder or hub id; None builds from ``architecture``.
        architecture: Settings of the configuration of its ``model_type``: `Dinov2Config`
            (``dinov2``, the default), `Dinov2WithRegistersConfig`, or `SegformerConfig`
            (``segformer``).

    Raises:
        InputError: If the source cannot be opened, is no such encoder, or disagrees.
    """
    if source is None:
        if architecture is None:
            raise InputError("the encoder has neither a source nor an architecture; set one")
        return _from_scratch({key: _listed(value) for key, value in architecture.items()})
    # transformers would keep the 16 bits of a file.
    return load_pretrained(ENCODERS[check_encoder(source, architecture)][1], source).float()


def check_encoder(source: str, architecture: Architecture | None = None) -> str:
    """Refuse a source that is not the configured encoder; reads its configuration alone.

    Returns:
        Its ``model_type``.

    Raises:
        InputError: As `load_encoder`.
    """
    check_source(source, "")
    try:
        config, _ = Dinov2Config.get_config_dict(source)
    except OSError as error:
        raise InputError(
            f"cannot open the encoder {source}: {str(error).splitlines()[0]}; {way_out(source)}"
        ) from error
    found = config.get("model_type", "no model")
    if found not in ENCODERS:
        raise InputError(
            f"cannot open the encoder {source}: its config.json describes {found}, not one of "
            f"{', '.join(ENCODERS)}; give a folder of DINOv2 weights"
        )
    require_same("the encoder", source, architecture or {}, config)
    return found


def _from_scratch(architecture: dict[str, Any]) -> Encoder:
    kind = str(architecture.pop("model_type", "dinov2"))
    if kind not in ENCODERS:
        raise InputError(f"the encoder's model_type={kind}; give one of {', '.join(ENCODERS)}")
    make_config, make_encoder = ENCODERS[kind]
    refuse_unknown("the encoder", architecture, make_config().to_dict())
    config = make_config(**architecture)
    encoder = make_encoder(config)
    if kind == "segformer":
        return encoder
    side = config.image_size // config.patch_size  # pyright: ignore
    if config.hidden_size % 4 == 0:
        embeddings: Any = encoder.embeddings
        places = embeddings.position_embeddings.data
        places[0, 1:] = _POSITION_SCALE * sincos_embedding(side, config.hidden_size).to(places)
    return encoder


def patch_tokens(encoder: nn.Module, images: Tensor) -> Tensor:
    """Encode [B, 3, R, R] pixels in [-1, 1] to [B, N, width] patch tokens, row-major.

    Drops the class token, and the register tokens where the encoder has them.
    """
    config: Any = encoder.config
    mean, std = _channels(_MEAN, images), _channels(_STD, images)
    pixels = ((images + 1.0) / 2.0 - mean) / std
    dtype = next(encoder.parameters()).dtype
    tokens: Tensor = encoder(pixel_values=pixels.to(dtype)).last_hidden_state
    if tokens.ndim == 4:
        return tokens.flatten(2).transpose(1, 2)  # SegFormer: [B, width, h, w]
    return tokens[:, 1 + getattr(config, "num_register_tokens", 0) :]


def _channels(values: Sequence[float], like: Tensor) -> Tensor:
    """Return [1, C, 1, 1], filled on the device: the host would wait for the copy of a list."""
    return torch.cat([like.new_full((1, 1, 1, 1), value) for value in values], dim=1)


@dataclasses.dataclass(frozen=True)
class ViewTokens:
    """Tokens of whole views by an encoder from a local folder; loaded where first used.

    So it can be handed to other processes, which load the weights themselves.

    Attributes:
        source: Folder of DINOv2 weights.
        side: Longest side that views are encoded at, pixels.
    """

    source: str
    side: int

    @classmethod
    def open(cls, source: str | None, side: int) -> "ViewTokens":
        """Check that the weights are there.

        Raises:
            InputError: If they are not.
        """
        if source is None:
            raise InputError("matcher=dinov2 needs encoder=DIR, a local folder of DINOv2 weights")
        load_encoder(source)
        return cls(source, side)

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Tensor:
        """Return [h, w, width] tokens of patches that cover an HxWx3 uint8 view evenly."""
        encoder = _loaded(self.source)
        patch = token_stride(encoder)
        scale = self.side / max(image.shape[:2]) / patch
        rows, columns = (max(1, round(length * scale)) for length in image.shape[:2])
        pixels = torch.from_numpy(resize(image, rows * patch, columns * patch))
        tokens = patch_tokens(encoder, pixels.permute(2, 0, 1)[None].float() / 127.5 - 1.0)
        return tokens[0].unflatten(0, (rows, columns))


@functools.lru_cache(maxsize=1)
def _loaded(source: str) -> Encoder:
    return load_encoder(source).eval()


def token_width(encoder: nn.Module) -> int:
    """Return the features of a patch token."""
    config: Any = encoder.config
    return config.hidden_sizes[-1] if config.model_type == "segformer" else config.hidden_size


def token_stride(encoder: nn.Module) -> int:
    """Return how many pixels of the picture lie between two tokens, along one axis."""
    config: Any = encoder.config
    return math.prod(config.strides) if config.model_type == "segformer" else config.patch_size


def num_tokens(encoder: nn.Module, reference_size: int) -> int:
    """Return how many patch tokens a reference of ``reference_size`` pixels gives.

    Raises:
        InputError: If the size is no multiple of the patch size.
    """
    patch = token_stride(encoder)
    if reference_size < patch or reference_size % patch:
        low = reference_size // patch * patch
        raise InputError(
            f"reference_size={reference_size} is no multiple of the encoder's patch size {patch}; "
            f"the nearest are {max(low, patch)} and {low + patch}"
        )
    return (reference_size // patch) ** 2


def _listed(value: Any) -> Any:
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else value
