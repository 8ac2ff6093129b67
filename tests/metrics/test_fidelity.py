"""PSNR and SSIM in the hole against torchmetrics, scikit-image and the formula."""

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import structural_similarity_index_measure

from rba.metrics.fidelity import psnr_in_hole, ssim_in_hole


def pictures(height: int, width: int, noise: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    noisy = np.clip(truth + rng.normal(0, noise, truth.shape), 0, 255).astype(np.uint8)
    return noisy, truth


def test_psnr_over_a_full_mask_equals_scikit_image() -> None:
    image, truth = pictures(24, 30)
    expected = peak_signal_noise_ratio(truth, image, data_range=255)
    assert psnr_in_hole(image, truth, np.ones((24, 30), bool)) == pytest.approx(expected)


def test_psnr_sees_nothing_outside_the_hole() -> None:
    image, truth = pictures(24, 30)
    mask = np.zeros((24, 30), bool)
    mask[4:9, 3:20] = True
    inside = psnr_in_hole(image, truth, mask)
    changed = np.where(mask[..., None], image, 0).astype(np.uint8)
    assert psnr_in_hole(changed, truth, mask) == inside
    crop = peak_signal_noise_ratio(truth[4:9, 3:20], image[4:9, 3:20], data_range=255)
    assert inside == pytest.approx(crop)


def test_psnr_of_a_known_error() -> None:
    truth = np.full((8, 8, 3), 100, np.uint8)
    mask = np.eye(8, dtype=bool)
    assert psnr_in_hole(truth + 51, truth, mask) == pytest.approx(-20 * math.log10(0.2))
    assert psnr_in_hole(truth, truth, mask) == math.inf


def test_ssim_equals_torchmetrics_in_the_middle() -> None:
    """Uniform 7x7 windows, sample covariance: torchmetrics' population one differs by 49/48."""
    image, truth = pictures(32, 32)
    mask = np.zeros((32, 32), bool)
    mask[10:20, 12:22] = True
    _, similarity = structural_similarity_index_measure(
        torch.from_numpy(image).permute(2, 0, 1)[None].double(),
        torch.from_numpy(truth).permute(2, 0, 1)[None].double(),
        gaussian_kernel=False,
        kernel_size=7,
        data_range=255.0,
        return_full_image=True,
    )
    expected = similarity[0].mean(0).numpy()[mask].mean()
    assert ssim_in_hole(image, truth, mask) == pytest.approx(expected, abs=2e-3)


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:16, 8:16] = True
    values = [ssim_in_hole(*pictures(32, 32, noise), mask) for noise in (0.0, 10.0, 40.0, 120.0)]
    assert values[0] == pytest.approx(1.0)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (6, 6), (7, 2)])
def test_small_pictures_are_handled(size: tuple[int, int]) -> None:
    image, truth = pictures(*size)
    mask = np.ones(size, bool)
    assert ssim_in_hole(truth, truth, mask) == pytest.approx(1.0)
    assert -1.0 <= ssim_in_hole(image, truth, mask) < 1.0


def test_mistakes_are_refused() -> None:
    image, truth = pictures(8, 8)
    with pytest.raises(ValueError, match="empty"):
        psnr_in_hole(image, truth, np.zeros((8, 8), bool))
    with pytest.raises(ValueError, match="shapes disagree"):
        ssim_in_hole(image, truth, np.ones((8, 9), bool))
    with pytest.raises(ValueError, match="expected uint8"):
        psnr_in_hole(image / 255.0, truth, np.ones((8, 8), bool))
