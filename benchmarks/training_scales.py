"""The sizes at which training is measured, and made-up batches of them."""

from typing import Any

import numpy as np
from torch.utils.data import IterableDataset

from rba.batch import Batch, Example, Mode

_NETWORK = "model.network"
SCALES: dict[str, tuple[int, list[str]]] = {  # samples a step, overrides of experiment=paper
    "paper": (8, []),
    "tiny": (
        4,
        [
            "model.image_size=128",
            f"{_NETWORK}.autoencoder.architecture.block_out_channels=[16,32,32,32]",
            f"{_NETWORK}.autoencoder.architecture.norm_num_groups=8",
            f"{_NETWORK}.unet.architecture.block_out_channels=[32,64,128,128]",
            f"{_NETWORK}.unet.architecture.norm_num_groups=16",
            f"{_NETWORK}.unet.architecture.attention_head_dim=4",
            f"{_NETWORK}.unet.architecture.cross_attention_dim=96",
            f"{_NETWORK}.encoder.architecture.hidden_size=96",
            f"{_NETWORK}.encoder.architecture.num_hidden_layers=4",
            f"{_NETWORK}.encoder.architecture.num_attention_heads=4",
            f"{_NETWORK}.connector.in_features=96",
            f"{_NETWORK}.connector.hidden_features=96",
            f"{_NETWORK}.connector.out_features=96",
        ],
    ),
}
PERIOD = 2  # steps after which the pictures come again, under new draw numbers


class Stream(IterableDataset[Batch]):
    """Made-up batches, a pure function of the step."""

    def __init__(self, image_size: int, reference_size: int, size: int) -> None:
        self.image_size, self.reference_size, self.size = image_size, reference_size, size

    def __iter__(self) -> Any:
        """Yield without end."""
        for step in range(10**9):
            mode = list(Mode)[step % 2]
            draws = range(step * self.size, (step + 1) * self.size)
            yield Batch.collate(mode, [self._example(draw) for draw in draws])

    def _example(self, draw: int) -> Example:
        side, view = self.image_size, self.reference_size
        rng = np.random.default_rng(draw % (PERIOD * self.size))
        mask = np.zeros((side, side), bool)
        mask[side // 4 : side // 2, side // 4 : side // 2] = True
        return Example(
            image=rng.integers(0, 256, (side, side, 3), np.uint8),
            artifact_mask=mask,
            reference=rng.integers(0, 256, (view, view, 3), np.uint8),
            reference_mask=np.ones((view, view), bool),
            correspondence_mask=np.zeros((view, view), np.float32),
            correspondence_known=False,
            draw=draw,
            sample_id=f"made/0/{draw}",
        )
