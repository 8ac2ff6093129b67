"""The LightningDataModule of the alternating stream: all that the data knows of Lightning."""

import functools
import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from rba.batch import Batch, Mode
from rba.data.alternation import ModePattern
from rba.data.batch_memory import BatchMemory
from rba.data.curriculum import Curriculum
from rba.data.recipe import MaskSettings, ProfileMasks, Recipe
from rba.data.set_description import (
    count_different,
    describe_sets,
    epochs_by_set,
    set_warnings,
)
from rba.data.shard_choice import ShardChoiceSets, open_choice
from rba.data.sources import AlignmentSource, LoaderSettings, RefinementSource
from rba.data.storage.room import require_room
from rba.data.storage.settings import StorageSettings
from rba.data.stream import AlternatingStream, BatchSplit, StepSampler, start_worker
from rba.data.stream_building import StreamBuilder
from rba.data.stream_facts import stream_facts
from rba.data.validation import ValidationSet
from rba.data.watched_loader import WatchedLoader
from rba.errors import InputError

_log = logging.getLogger(__name__)
_VALIDATION_SEED = 0  # validation sets are the same in every run


class AlternatingDataModule(LightningDataModule):
    """Batches of alternating modes as a pure function of the step.

    Needs ``Trainer(use_distributed_sampler=False, accumulate_grad_batches=accumulation)``: the
    stream divides the work itself.

    Args:
        alignment: The alignment mode's source.
        refinement: The refinement mode's source.
        pattern: Which mode a step has.
        masks: Where artifact masks come from.
        seed: The run's seed. Validation does not depend on it.
        curriculum: Easy examples first; validation is always at full difficulty.
        storage: How shards are read that lie elsewhere.
        **loader: The fields of `LoaderSettings`.
    """

    def __init__(
        self,
        *,
        alignment: AlignmentSource,
        refinement: RefinementSource,
        pattern: ModePattern | Mapping[str, int],
        masks: MaskSettings,
        seed: int,
        curriculum: Curriculum | None = None,
        storage: StorageSettings | None = None,
        **loader: Any,
    ) -> None:
        super().__init__()
        self.alignment = alignment
        self.refinement = refinement
        self.pattern = pattern if isinstance(pattern, ModePattern) else ModePattern(**pattern)
        self.masks = masks
        self.curriculum = curriculum or Curriculum()
        self.storage = storage or StorageSettings()
        self.loader = LoaderSettings(**loader)
        self.seed = seed
        if self.loader.examples_per_sample is not None and self.curriculum.samples:
            raise InputError(
                f"data.examples_per_sample={self.loader.examples_per_sample} keeps the examples of "
                f"a sample, data.curriculum.samples={self.curriculum.samples} changes them; give "
                "null, or 0"
            )

    @functools.cached_property
    def train_shards(self) -> dict[Mode, ShardChoiceSets]:
        """The sets of shards of each mode that the pattern uses."""
        return self._open_train_shards()

    @functools.cached_property
    def validation_shards(self) -> dict[Mode, ShardChoiceSets]:
        """The sets of validation shards of each mode that has some."""
        return self._open_validation_shards()

    @functools.cached_property
    def mask_source(self) -> ProfileMasks:
        """Where artifact masks come from."""
        return self.masks.source()

    def check(self, num_devices: int = 1) -> None:
        """Open all shards and check that everything fits; reads no sample.

        Args:
            num_devices: Devices over all nodes.

        Raises:
            InputError: If a used mode has no shards, or shards, sizes or masks do not fit.
        """
        self.accumulation(num_devices)
        for mode in self.train_shards | self.validation_shards:
            self._recipe(mode)
        sources, opened = self._sources(), (self.train_shards, self.validation_shards)
        read = [
            (shards.folder, shards.entries, sources[mode].shuffle_window)
            for by_mode in opened
            for mode, chosen in by_mode.items()
            for shards in chosen.sets
        ]
        require_room(read, self.storage)
        for warning in set_warnings(self.train_shards, self.validation_shards, self.loader):
            _log.warning("%s", warning)

    def setup(self, stage: str) -> None:
        """Tell the trainer not to validate where there is nothing to validate on."""
        if stage == "fit" and not self.validation_shards:
            self._trainer().limit_val_batches = 0  # an empty list of loaders draws a warning

    def describe(self) -> dict[str, Any]:
        """Return by mode and set what would be read (see `describe_sets`)."""
        return describe_sets(self.train_shards, self.validation_shards, self.loader, self.pattern)

    def epochs(self, step: int) -> dict[str, float]:
        """Return the epochs of each set that lie before optimiser step ``step``."""
        return epochs_by_set(self.train_shards, self._samples_before(step))

    def samples_read(self, step: int, *, validation: bool = False) -> int:
        """Return how many different samples lie before a step, or how many validation reads."""
        if not validation:
            return count_different(self.train_shards, self._samples_before(step))
        sets = [shards for chosen in self.validation_shards.values() for shards in chosen.sets]
        return sum(min(len(shards), self.loader.num_validation_samples) for shards in sets)

    def stream_facts(self) -> dict[str, Any]:
        """Return what the stream depends on beside the step, in plain containers."""
        windows = {mode: source.shuffle_window for mode, source in self._sources().items()}
        return stream_facts(self.train_shards, windows, self.loader.node_parts)

    def accumulation(self, world_size: int) -> int:
        """Return the micro-batches of one optimiser step on each of ``world_size`` ranks.

        Raises:
            InputError: If the global batch cannot be divided so.
        """
        return self._split(world_size, 0).accumulation

    def stream(self, world_size: int = 1, rank: int = 0) -> AlternatingStream:
        """Return the training stream of one rank: item m is its micro-batch m since step 0."""
        parts, count = self.loader.node_parts, self.loader.examples_per_sample
        streams = {
            mode: self._builder(mode).training(chosen, self.curriculum, parts, count)
            for mode, chosen in self.train_shards.items()
        }
        return AlternatingStream(
            streams,
            self.pattern,
            self._split(world_size, rank),
            shuffle_references=self.loader.shuffle_references,
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the endless loader, starting at the trainer's optimiser step."""
        trainer = self._trainer()
        stream = self.stream(trainer.world_size, trainer.global_rank)
        accumulation = stream.split.accumulation
        if trainer.accumulate_grad_batches != accumulation:
            raise InputError(
                f"trainer.accumulate_grad_batches={trainer.accumulate_grad_batches}, but "
                f"global_batch={self.loader.global_batch} on {trainer.world_size} ranks with "
                f"per_device_batch={self.loader.per_device_batch} needs {accumulation}"
            )
        return self._data_loader(stream, StepSampler(trainer.global_step * accumulation))

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Return one finite loader for each set of validation shards."""
        trainer = self._trainer()
        streams = [
            stream
            for mode, chosen in self.validation_shards.items()
            for stream in self._builder(mode, validation=True).validation(chosen)
        ]
        sets = [
            ValidationSet(
                stream,
                self.loader.num_validation_samples,
                self.loader.per_device_batch,
                trainer.world_size,
                trainer.global_rank,
            )
            for stream in streams
        ]
        return [self._data_loader(validation, None) for validation in sets]

    def _trainer(self) -> Any:
        trainer: Any = self.trainer
        assert trainer is not None
        if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise InputError(
                "trainer.use_distributed_sampler=true would divide the samples a second time; set "
                "it to false"
            )
        return trainer

    def _data_loader(self, dataset: Dataset[Batch], sampler: StepSampler | None) -> DataLoader:
        workers = self.loader.num_workers
        memory = BatchMemory()
        loader = WatchedLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            num_workers=workers,
            collate_fn=memory.pack if workers else _whole_batch,
            worker_init_fn=start_worker,
            prefetch_factor=self.loader.prefetch if workers else None,
            persistent_workers=self.loader.persistent_workers and workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
        loader.memory = memory
        return loader

    def _open_train_shards(self) -> dict[Mode, ShardChoiceSets]:
        opened: dict[Mode, ShardChoiceSets] = {}
        for mode, source in self._sources().items():
            key = f"data.{mode.value}.shards"
            if not self.pattern.uses(mode):
                continue
            if source.shards is None or source.shards == "":
                raise InputError(
                    f"{key} is not set, but the alternation uses {mode.value} batches; give "
                    f"{key}=PATTERN or alternation.{mode.value}=0"
                )
            opened[mode] = open_choice(source.shards, mode, key, self.storage)
        return opened

    def _open_validation_shards(self) -> dict[Mode, ShardChoiceSets]:
        return {
            mode: open_choice(
                source.validation_shards, mode, f"data.{mode}.validation_shards", self.storage
            )
            for mode, source in self._sources().items()
            if source.validation_shards
        }

    def _sources(self) -> dict[Mode, AlignmentSource | RefinementSource]:
        return {Mode.ALIGNMENT: self.alignment, Mode.REFINEMENT: self.refinement}

    def _samples_before(self, step: int) -> dict[Mode, int]:
        steps = {mode: self.pattern.earlier_steps(step, mode) for mode in Mode}
        return {mode: count * self.loader.global_batch for mode, count in steps.items()}

    def _split(self, world_size: int, rank: int) -> BatchSplit:
        return BatchSplit(
            global_batch=self.loader.global_batch,
            per_device_batch=self.loader.per_device_batch,
            world_size=world_size,
            rank=rank,
            parts=self.loader.node_parts,
        )

    def _recipe(self, mode: Mode, *, validation: bool = False) -> Recipe:
        return Recipe(
            image_size=self.loader.image_size,
            reference_size=self.loader.reference_size,
            masks=self.mask_source,
            seed=_VALIDATION_SEED if validation else self.seed,
            namespace=f"validation-{mode.value}" if validation else mode.value,
        )

    def _builder(self, mode: Mode, *, validation: bool = False) -> StreamBuilder:
        recipe = self._recipe(mode, validation=validation)
        return StreamBuilder(self._sources()[mode], recipe, self.mask_source)


def _whole_batch(batch: Any) -> Any:
    """Stand in for the loader's collating: the stream makes whole batches."""
    return batch
