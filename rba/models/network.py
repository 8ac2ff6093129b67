"""The container that training and inference share: four parts and what they do together."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rba.models.encoder import num_tokens, patch_tokens, token_stride, token_width
from rba.models.parts import describe_part
from rba.models.shared_start import share_start
from rba.models.unet import cross_attention_layers

PARTS = ("autoencoder", "encoder", "connector", "unet")
# Of pictures in the autoencoder: four of 512 fill a GPU, and Stable Diffusion's takes 0.45 GiB for
# each (bf16-mixed) beside all that training holds.
_PIXELS_AT_ONCE = 4 * 512**2


class RefinementNetwork(nn.Module):
    """Autoencoder, reference encoder, connector and U-Net; no Lightning, no schedule.

    Args:
        autoencoder: `AutoencoderKL` or `PatchAutoencoder`; always frozen.
        encoder: `Dinov2Model` or another of `load_encoder`; frozen unless ``train_encoder``.
        connector: `Connector`.
        unet: `UNet2DConditionModel` whose input is ``[noisy, mask, masked image]`` latents, and
            where its ``in_channels`` are the encoder's width more, the encoder's tokens of the
            masked image (`sees_target_tokens`); or the noisy latents alone (`conditioning`).
        reference_size: Side R of the reference in pixels.
        train_encoder: Train the encoder too (where no pretrained one of the size exists).
        shared_start: Set the start of random weights anew, see `rba.models.shared_start`.

    Raises:
        ValueError: If the parts' widths do not fit each other.
    """

    def __init__(
        self,
        autoencoder: Any,
        encoder: Any,
        connector: Any,
        unet: Any,
        *,
        reference_size: int,
        train_encoder: bool = False,
        shared_start: bool = False,
    ) -> None:
        super().__init__()
        # Any: nn.Module would hide what each part's own class offers.
        self.autoencoder: Any = autoencoder
        self.encoder: Any = encoder
        self.connector: Any = connector
        self.unet: Any = unet
        self.reference_size = reference_size
        self.train_encoder = train_encoder
        self.num_tokens = num_tokens(encoder, reference_size)
        self._check_widths()
        if shared_start:
            share_start(self)
        self.autoencoder.requires_grad_(False)
        self.encoder.requires_grad_(train_encoder)
        mask_token = getattr(getattr(encoder, "embeddings", None), "mask_token", None)
        if mask_token is not None:
            # Only DINOv2's own training masks patches: here it would never receive a gradient.
            mask_token.requires_grad_(False)

    def _check_widths(self) -> None:
        unet, connector = _config(self.unet), _config(self.connector)
        expected = 2 * self.latent_channels + 1
        if self.sees_target_tokens:
            expected += token_width(self.encoder)
        if self.conditioning == "blended4":
            expected = self.latent_channels
        pairs = {
            "unet.in_channels [noisy, mask, masked image]": (unet["in_channels"], expected),
            "unet.out_channels": (unet["out_channels"], self.latent_channels),
            "unet.cross_attention_dim": (unet["cross_attention_dim"], connector["out_features"]),
            "connector.in_features": (
                connector["in_features"],
                token_width(self.encoder),
            ),
        }
        for name, (found, wanted) in pairs.items():
            if found != wanted:
                raise ValueError(f"{name} is {found}, the other parts need {wanted}")

    @property
    def latent_factor(self) -> int:
        """Pixels a latent cell along one axis: 8 for Stable Diffusion."""
        config = _config(self.autoencoder)
        return config.get("patch_size") or 2 ** (len(config["block_out_channels"]) - 1)

    @property
    def sees_target_tokens(self) -> bool:
        """Whether the U-Net's input holds the encoder's tokens of the masked image as well.

        Then queries and keys of the cross-attention start from one description of a place and its
        surroundings. A pretrained U-Net describes them itself: Stable Diffusion needs none.
        """
        extra = _config(self.unet)["in_channels"] - (2 * self.latent_channels + 1)
        return extra == token_width(self.encoder)

    @property
    def conditioning(self) -> str:
        """How the U-Net knows what lies outside the hole.

        ``inpaint9``: mask and masked image are input channels beside the noisy latents.
        ``blended4``: its input are the noisy latents alone, whose cells outside the hole are the
        known ones, noised to the same timestep (`blend_known`), in training and at every step of
        inference.
        """
        alone = _config(self.unet)["in_channels"] == self.latent_channels
        return "blended4" if alone else "inpaint9"

    @property
    def latent_channels(self) -> int:
        """Channels of a latent: 4 for Stable Diffusion."""
        config = _config(self.autoencoder)
        return config.get("latent_channels") or 3 * config["patch_size"] ** 2

    def train(self, mode: bool = True) -> "RefinementNetwork":
        """Set training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for part in self.children():
            if not any(parameter.requires_grad for parameter in part.parameters()):
                part.eval()
        return self

    def encode_images(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] pixels in [-1, 1] => [B, C, H / f, W / f] scaled latents (the mode).

        The autoencoder computes in its own dtype; latents have that of ``images``. Many pictures
        go through it in turns.
        """

        def encode(pixels: Tensor) -> Tensor:
            return self.autoencoder.encode(pixels).latent_dist.mode()

        height, width = images.shape[-2:]
        turns = images.split(max(1, _PIXELS_AT_ONCE // (height * width)))
        latents = torch.cat([_run_frozen(self.autoencoder, encode, turn) for turn in turns])
        return latents.to(images.dtype) * _config(self.autoencoder)["scaling_factor"]

    def encode_tokens(self, images: Tensor) -> Tensor:
        """[B, 3, H, W] pixels in [-1, 1] => [B, N, D] patch tokens of the encoder, row-major."""
        if self.train_encoder:
            return patch_tokens(self.encoder, images)
        return _run_frozen(self.encoder, lambda pixels: patch_tokens(self.encoder, pixels), images)

    def masked_condition(
        self, visible: Tensor, masked_latents: Tensor, tokens: Tensor | None = None
    ) -> Tensor:
        """Add the encoder's tokens of the masked image where the U-Net takes them.

        Args:
            visible: [B, 3, H, W] pixels in [-1, 1], the hole blanked.
            masked_latents: [B, C, h, w], `encode_images` of them.
            tokens: `encode_tokens` of them where a caller has it already.

        Returns:
            [B, C, h, w] as given, or [B, C + width, h, w]: the tokens of the picture at its own
            size, averaged over each latent cell.
        """
        if not self.sees_target_tokens:
            return masked_latents
        patch = token_stride(self.encoder)
        tokens = self.encode_tokens(visible) if tokens is None else tokens
        grid = tokens.transpose(1, 2).unflatten(
            2, (visible.shape[-2] // patch, visible.shape[-1] // patch)
        )
        height, width = masked_latents.shape[-2:]
        cells = F.adaptive_avg_pool2d(grid, (height, width))
        return torch.cat([masked_latents, cells.to(masked_latents.dtype)], dim=1)

    def decode_latents(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] scaled latents => [B, 3, H, W] pixels clamped to [-1, 1]."""
        scale = _config(self.autoencoder)["scaling_factor"]
        unscaled = (latents / scale).to(_dtype(self.autoencoder))
        return self.autoencoder.decode(unscaled).sample.to(latents.dtype).clamp(-1.0, 1.0)

    def embed_references(self, references: Tensor, drop: Tensor | None = None) -> Tensor:
        """[B, 3, R, R] pixels in [-1, 1] => [B, N, width] tokens (Algorithm 1, line 1).

        Args:
            references: The references.
            drop: [B] bool, true = use the null tokens for this sample.
        """
        return self.connect(self.encode_tokens(references), drop)

    def connect(self, features: Tensor, drop: Tensor | None = None) -> Tensor:
        """[B, N, D] tokens of the encoder => [B, N, width]; ``drop`` as in `embed_references`."""
        tokens = self.connector(features.to(_dtype(self.connector)))
        if drop is None:
            return tokens
        null_tokens = self.null_tokens(len(tokens)).to(tokens.device)  # may be offloaded again
        return torch.where(drop.view(-1, 1, 1), null_tokens, tokens)

    def null_tokens(self, count: int) -> Tensor:
        """Return the null condition, [count, N, width]."""
        return self.connector.null_tokens(count, self.num_tokens)

    def predict(
        self,
        noisy: Tensor,
        timesteps: Tensor,
        latent_mask: Tensor,
        masked_latents: Tensor,
        tokens: Tensor,
    ) -> Tensor:
        """Run the U-Net on ``[noisy, mask, masked image]`` (diffusers' inpainting order).

        With ``blended4`` `conditioning` on ``noisy`` alone: a caller has blended the known into it.

        Args:
            noisy: [B, C, h, w] noisy latents.
            timesteps: [B] or a scalar.
            latent_mask: [B, 1, h, w] float, 1 = repaint (`geometry.mask_to_latent`).
            masked_latents: [B, C, h, w] latents of the image with its hole blanked, or
                `masked_condition` of them.
            tokens: [B, N, width].

        Returns:
            [B, C, h, w]: noise, velocity or clean latents, as the schedule's ``prediction_type``
            says.
        """
        if self.conditioning == "inpaint9":
            noisy = torch.cat([noisy, latent_mask.to(noisy.dtype), masked_latents], dim=1)
        dtype = _dtype(self.unet)
        return self.unet(noisy.to(dtype), timesteps, encoder_hidden_states=tokens.to(dtype)).sample

    def cross_attention_layers(self) -> list[tuple[str, nn.Module]]:
        """Return the U-Net's 16 cross-attention modules with names, in execution order."""
        return cross_attention_layers(self.unet)

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return each part's class and configuration as plain containers."""
        return {name: describe_part(getattr(self, name)) for name in PARTS}


def blend_known(inside: Tensor, known: Tensor, latent_mask: Tensor) -> Tensor:
    """Return [B, C, h, w]: ``inside`` in the cells of the hole, ``known`` in all others.

    Args:
        inside: [B, C, h, w].
        known: [B, C, h, w] latents of the masked image, noised as ``inside`` is.
        latent_mask: [B, 1, h, w], 1 = hole.
    """
    return torch.where(latent_mask > 0, inside, known.to(inside.dtype))


def _run_frozen(part: nn.Module, run: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Run a frozen part in its own dtype, without what autograd would keep account of.

    In 16 bits by its weights alone: autocast would only cast there and back.
    """
    device, dtype = images.device.type, _dtype(part)
    autocast = contextlib.nullcontext()
    if device != "meta":  # on which shapes are tried at the start; autocast does not know it
        enabled = torch.is_autocast_enabled(device) and dtype == torch.float32
        autocast = torch.autocast(device, enabled=enabled)
    with torch.inference_mode(), autocast:
        encoded = run(images.to(dtype))
    return encoded.clone()  # autograd refuses to keep a tensor of inference mode


def _dtype(part: nn.Module) -> torch.dtype:
    return next(part.parameters()).dtype


def _config(part: nn.Module) -> dict[str, Any]:
    return part.config  # pyright: ignore
