"""Picture grids in TensorBoard: what the network sees, where it looks, what it makes."""

from typing import Any

import cv2
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from rba.batch import Batch
from rba.inference.frames import tensor_to_images
from rba.inference.noise import KeyedNoise
from rba.inference.sampler import SamplerSettings, evaluating, latent_shape, make_condition, sample
from rba.training.module import RefineByAlignModule
from rba.training.picture_log import log_picture

_CELL = 128  # pixels a picture of the grid
_HEADER = 26  # pixels
_TITLES = ("hole", "reference", "attention", "truth", "output")


class PictureGrid(Callback):
    """After each validation show the first examples of each set, one a row.

    Columns: target with its hole, reference, correspondence map over the reference (at
    ``validation.layer``), true region, output of the sampler.
    """

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch of each set."""
        assert isinstance(pl_module, RefineByAlignModule)
        count = min(pl_module.validation.num_pictures, len(batch))
        alone = not pl_module.has_shards  # shards are gathered by all ranks together
        if batch_idx or not count or (alone and not trainer.is_global_zero):
            return
        grid = picture_grid(pl_module, batch, outputs[:, pl_module.validation.layer], count)
        name = f"pictures/{batch.mode}_{batch.sample_ids[0].partition('/')[0]}"
        if trainer.is_global_zero:
            log_picture(trainer.loggers, name, grid, trainer.global_step)


def picture_grid(module: RefineByAlignModule, batch: Batch, maps: Tensor, count: int) -> np.ndarray:
    """Return the grid of the first ``count`` examples, titles above, as an HxWx3 uint8 picture.

    Args:
        module: Its network, schedule and validation settings.
        batch: On the network's device.
        maps: [B, n, n] correspondence maps.
        count: Rows.
    """
    network, pixels = module.network, batch.normalized()
    sampler = SamplerSettings(
        num_inference_steps=module.validation.picture_steps,
        guidance_scale=module.validation.guidance_scale,
    )
    with evaluating(network):
        tokens = network.embed_references(pixels.reference[:count])
        condition = make_condition(
            network, pixels.image[:count], pixels.artifact_mask[:count], tokens
        )
        noise = KeyedNoise(module.seed, tuple(batch.draws[:count].tolist()))
        latents = sample(
            network,
            module.scheduler,
            condition,
            noise("pictures", latent_shape(network, condition)),
            sampler,
        )
        outputs = network.decode_latents(latents)
    kept = 1.0 - pixels.artifact_mask[:count]
    columns = [
        tensor_to_images(pixels.masked_image[:count]),
        tensor_to_images(pixels.reference[:count]),
        overlays(batch.reference[:count], maps[:count]),
        overlays(batch.reference[:count], batch.correspondence_mask[:count, 0]),
        tensor_to_images(pixels.image[:count] * kept + outputs * (1.0 - kept)),
    ]
    rows = [np.hstack([_cell(picture) for picture in row]) for row in zip(*columns, strict=True)]
    return np.vstack([np.hstack([_header(title) for title in _TITLES]), *rows])


def overlays(references: Tensor, maps: Tensor) -> list[np.ndarray]:
    """Lay maps over darkened references, brightest where a map is largest.

    Args:
        references: [B, 3, R, R] uint8.
        maps: [B, n, n], >= 0.

    Returns:
        B pictures R x R x 3 uint8.
    """
    side = references.shape[-1]
    heat = torch.nn.functional.interpolate(maps[:, None].float().cpu(), size=(side, side)).numpy()
    pictures = references.permute(0, 2, 3, 1).cpu().numpy()
    result: list[np.ndarray] = []
    for picture, (values,) in zip(pictures, heat, strict=True):
        share = (values / max(float(values.max()), 1e-12))[..., None]
        colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
        blended = picture * 0.4 + colours * 0.6
        result.append(np.clip(blended, 0, 255).astype(np.uint8))
    return result


def _header(title: str) -> np.ndarray:
    header = np.full((_HEADER, _CELL + 4, 3), 255, np.uint8)
    place = (4, _HEADER - 8)
    return cv2.putText(header, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 2)  # pyright: ignore


def _cell(picture: np.ndarray) -> np.ndarray:
    fitted = cv2.resize(picture, (_CELL, _CELL), interpolation=cv2.INTER_NEAREST)
    return np.pad(fitted, ((2, 2), (2, 2), (0, 0)), constant_values=255)
