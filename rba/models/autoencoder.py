"""Autoencoders: Stable Diffusion's, and a lossless weight-free one behind the same interface."""

import math

import torch
from diffusers import AutoencoderKL
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput, IdentityDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor
from torch.nn import functional as F

from rba.models.diffusers_parts import from_source
from rba.models.sources import Architecture

# Orthonormal colour axes: luminance, blue-yellow, red-green.
_COLOUR_AXES = ((1.0, 1.0, 1.0), (-1.0, -1.0, 2.0), (1.0, -1.0, 0.0))


class PatchAutoencoder(ModelMixin, ConfigMixin):
    """An orthonormal patch transform with the interface of `AutoencoderKL`.

    Every patch of ``patch_size`` x ``patch_size`` pixels becomes its 2-D cosine coefficients in an
    orthonormal colour basis, so ``decode(encode(x)) == x`` up to rounding and a model trained from
    scratch really reconstructs. Channel ``3 * frequency + colour``; frequencies row-major.

    Args:
        patch_size: Pixels a latent cell along one axis.
        scaling_factor: One global scale for all channels; latents times this go to the U-Net.
    """

    @register_to_config
    def __init__(self, patch_size: int = 4, scaling_factor: float = 1.0) -> None:
        super().__init__()
        # Made from the settings, so never saved: persistent=False.
        self.register_buffer("basis", _patch_basis(patch_size), persistent=False)
        # ModelMixin reads dtype and device off a parameter.
        self.anchor = torch.nn.Parameter(torch.zeros(()), requires_grad=False)

    @apply_forward_hook
    def encode(self, x: Tensor, return_dict: bool = True) -> AutoencoderKLOutput:
        """Turn [B, 3, H, W] pixels in [-1, 1] into [B, 3 * p * p, H / p, W / p] coefficients."""
        del return_dict
        latents = F.conv2d(x, self._kernel(x), stride=self.config["patch_size"])
        return AutoencoderKLOutput(latent_dist=IdentityDistribution(latents))  # pyright: ignore

    @apply_forward_hook
    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput:
        """Invert `encode` exactly."""
        del return_dict
        pixels = F.conv_transpose2d(z, self._kernel(z), stride=self.config["patch_size"])
        return DecoderOutput(sample=pixels)

    def _kernel(self, like: Tensor) -> Tensor:
        # from_pretrained builds modules on the meta device and fills in saved tensors only.
        if self.basis.is_meta:
            self.basis = _patch_basis(self.config["patch_size"])
        if self.basis.device != like.device or self.basis.dtype != like.dtype:
            return self.basis.to(like)
        return self.basis


def load_autoencoder(source: str | None, architecture: Architecture | None = None) -> AutoencoderKL:
    """Load Stable Diffusion's autoencoder (subfolder ``vae``), or build it with random weights.

    Args:
        source: Local diffusers folder, single file, or hub id; None builds from ``architecture``.
        architecture: `AutoencoderKL`'s configuration.

    Raises:
        InputError: If the source cannot be opened or disagrees with the architecture.
    """
    return from_source(AutoencoderKL, source, architecture, subfolder="vae")


def _patch_basis(patch: int) -> Tensor:
    """Return the [3 * p * p, 3, p, p] orthonormal analysis kernels (type-II cosine transform)."""
    position = torch.arange(patch, dtype=torch.float64, device="cpu")
    cosines = torch.cos(math.pi / patch * (position[None, :] + 0.5) * position[:, None])
    cosines *= math.sqrt(2.0 / patch)
    cosines[0] /= math.sqrt(2.0)
    colours = torch.tensor(_COLOUR_AXES, dtype=torch.float64, device="cpu")
    colours = colours / colours.norm(dim=1, keepdim=True)
    kernels = torch.einsum("ux,vy,kc->uvkcxy", cosines, cosines, colours)
    return kernels.reshape(3 * patch * patch, 3, patch, patch).float()
