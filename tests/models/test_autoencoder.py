"""The patch autoencoder: lossless, orthonormal, and called exactly as `AutoencoderKL`."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import fft

from rba.models.autoencoder import PatchAutoencoder

# the same examples on every machine, however slow it is
stable = settings(derandomize=True, deadline=None)


def encode(autoencoder: Any, images: torch.Tensor) -> torch.Tensor:
    return autoencoder.encode(images).latent_dist.mode()


@stable
@given(
    patch=st.sampled_from([1, 2, 3, 4, 8]),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_decoding_returns_every_pixel(patch: int, rows: int, columns: int, seed: int) -> None:
    autoencoder = PatchAutoencoder(patch_size=patch)
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, rows * patch, columns * patch, generator=generator) * 2 - 1
    latents = encode(autoencoder, images)
    assert latents.shape == (2, 3 * patch * patch, rows, columns)
    torch.testing.assert_close(autoencoder.decode(latents).sample, images, atol=2e-6, rtol=0)


def test_bytes_survive_the_whole_way() -> None:
    autoencoder = PatchAutoencoder(patch_size=4)
    pixels = torch.arange(256, dtype=torch.uint8).repeat(3)[: 16 * 16 * 3].reshape(1, 3, 16, 16)
    floats = pixels.float() / 127.5 - 1.0
    restored = autoencoder.decode(encode(autoencoder, floats)).sample
    assert torch.equal(((restored + 1.0) * 127.5).round().to(torch.uint8), pixels)


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_the_basis_is_orthonormal(patch: int) -> None:
    kernels = PatchAutoencoder(patch_size=patch).basis.flatten(1)
    torch.testing.assert_close(kernels @ kernels.T, torch.eye(len(kernels)), atol=2e-6, rtol=0)


def test_channels_are_the_cosine_coefficients_of_each_colour_axis() -> None:
    autoencoder = PatchAutoencoder(patch_size=4)
    image = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4))
    latents = encode(autoencoder, torch.from_numpy(image).float()[None])[0, :, 0, 0]
    luminance = fft.dctn(image.sum(axis=0) / np.sqrt(3.0), norm="ortho")
    red_green = fft.dctn((image[0] - image[1]) / np.sqrt(2.0), norm="ortho")
    np.testing.assert_allclose(latents[0::3].reshape(4, 4), luminance, atol=1e-5)
    np.testing.assert_allclose(latents[2::3].reshape(4, 4), red_green, atol=1e-5)


def test_a_flat_grey_picture_has_one_channel() -> None:
    latents = encode(PatchAutoencoder(patch_size=4), torch.full((1, 3, 8, 8), 0.5))
    # 48 values of 0.5 a patch: the norm stays
    torch.testing.assert_close(latents[:, 0], torch.full((1, 2, 2), 0.5 * 48**0.5))
    assert latents[:, 1:].abs().max() < 1e-6


def test_a_latent_cell_knows_its_own_patch_only() -> None:
    autoencoder = PatchAutoencoder(patch_size=4)
    images = torch.zeros(1, 3, 12, 16)
    images[0, 1, 4:8, 8:12] = 1.0
    touched = encode(autoencoder, images).abs().amax(dim=1)[0] > 1e-6
    assert touched.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("patch_size", [2, 4])
def test_saving_and_loading_keeps_the_transform(tmp_path: Path, patch_size: int) -> None:
    autoencoder = PatchAutoencoder(patch_size=patch_size, scaling_factor=2.0)
    autoencoder.save_pretrained(tmp_path)
    loaded = PatchAutoencoder.from_pretrained(tmp_path)
    assert loaded.config["patch_size"] == patch_size
    assert loaded.config["scaling_factor"] == 2.0
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(encode(loaded, images), encode(autoencoder, images))
    assert set(autoencoder.state_dict()) == {"anchor"}, "the basis follows from the settings"


def test_a_loader_that_builds_on_the_meta_device_loses_nothing() -> None:
    images = torch.rand(1, 3, 8, 8)
    expected = encode(PatchAutoencoder(patch_size=4), images)
    emptied = PatchAutoencoder(patch_size=4).to("meta")
    assert torch.equal(encode(emptied, images), expected)


def test_it_is_called_as_autoencoder_kl_is(kl: AutoencoderKL) -> None:
    patch = PatchAutoencoder(patch_size=2)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    for autoencoder, factor, channels in ((kl, 2, 4), (patch, 2, 12)):
        distribution = autoencoder.encode(images).latent_dist
        assert distribution.mode().shape == (2, channels, 16 // factor, 16 // factor)
        assert distribution.sample().shape == distribution.mode().shape
        decoded = autoencoder.decode(distribution.mode()).sample
        assert decoded.shape == images.shape
        assert autoencoder.config["scaling_factor"] > 0
        assert autoencoder.dtype == torch.float32
        assert autoencoder.device == torch.device("cpu")


def test_sampling_its_latents_is_not_random() -> None:
    distribution = PatchAutoencoder(patch_size=4).encode(torch.rand(1, 3, 8, 8)).latent_dist
    assert torch.equal(distribution.sample(), distribution.mode())


def test_it_follows_the_precision_of_what_it_gets() -> None:
    autoencoder = PatchAutoencoder(patch_size=4)
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    latents = encode(autoencoder, images.bfloat16())
    assert latents.dtype == torch.bfloat16
    torch.testing.assert_close(latents.float(), encode(autoencoder, images), atol=0.05, rtol=0.05)
    assert encode(autoencoder, images).dtype == torch.float32


def test_gradients_reach_the_pixels_through_the_decoder() -> None:
    autoencoder = PatchAutoencoder(patch_size=4)
    latents = torch.zeros(1, 48, 2, 2, requires_grad=True)
    autoencoder.decode(latents).sample.sum().backward()
    # only the luminance's lowest frequency has a mean: 16 pixels x 3 colours at 1/sqrt(48)
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad[0, 0], torch.full((2, 2), 48**0.5))
    assert latents.grad[0, 1:].abs().max() < 1e-5
