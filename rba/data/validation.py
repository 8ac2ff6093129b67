"""The validation set of a shard set: finite, in a fixed order, each sample once over all ranks."""

import dataclasses

from torch.utils.data import Dataset

from rba.batch import Batch
from rba.data.mode_stream import ModeStream


class ValidationSet(Dataset[Batch]):
    """Item k is this rank's share of the k-th global batch of the first samples of epoch 0.

    All ranks have equally many batches: missing places repeat the last sample with weight 0.

    Args:
        stream: Examples by position; alignment shards give alignment examples, refinement shards
            complete-reference examples, as its maker says.
        num_samples: At most so many samples; no more than the shards hold.
        batch_size: Samples a batch of one rank.
        world_size: Number of ranks.
        rank: This rank.
    """

    def __init__(
        self,
        stream: ModeStream,
        num_samples: int,
        batch_size: int,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        self.stream = stream
        self.num_samples = min(num_samples, len(stream.shards))
        self.batch_size = batch_size
        self.world_size = world_size
        self.rank = rank

    def __len__(self) -> int:
        return -(-self.num_samples // (self.batch_size * self.world_size))

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        start = (number * self.world_size + self.rank) * self.batch_size
        examples = []
        for position in range(start, start + self.batch_size):
            example = self.stream.example(min(position, self.num_samples - 1))
            if position >= self.num_samples:
                example = dataclasses.replace(example, weight=0.0)
            examples.append(example)
        return Batch.collate(self.stream.shards.kind, examples)
