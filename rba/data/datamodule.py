"""The LightningDataModule of the alternating stream: all that the data knows of Lightning."""

import dataclasses
import functools
import logging
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from rba.batch import Batch, Mode
from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.alternation import ModePattern
from rba.data.curriculum import Curriculum, CurriculumExamples
from rba.data.mode_stream import ExampleMaker, ModeStream
from rba.data.order import SampleOrder
from rba.data.recipe import MaskSettings, ProfileMasks, Recipe
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.shards import ShardSet
from rba.data.sources import AlignmentSource, LoaderSettings, RefinementSource
from rba.data.storage.room import require_room
from rba.data.storage.settings import StorageSettings
from rba.data.stream import AlternatingStream, BatchSplit, StepSampler, start_worker
from rba.data.validation import ValidationSet
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

    @functools.cached_property
    def train_shards(self) -> dict[Mode, ShardSet]:
        """The shards of each mode that the pattern uses."""
        return self._open_train_shards()

    @functools.cached_property
    def validation_shards(self) -> dict[Mode, ShardSet]:
        """The validation shards of each mode that has some."""
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
        sources, sets = self._sources(), (self.train_shards, self.validation_shards)
        read = [(s, sources[mode].shuffle_window) for opened in sets for mode, s in opened.items()]
        require_room([(s.folder, s.entries, window) for s, window in read], self.storage)
        for mode, shards in self.train_shards.items():
            if len(shards) < self.loader.global_batch:
                _log.warning(
                    "the %s shards hold %d samples, fewer than a global batch of %d: some batches "
                    "hold a sample twice", mode.value, len(shards), self.loader.global_batch,
                )  # fmt: skip
            validation = self.validation_shards.get(mode)
            shared = shards.paths() & validation.paths() if validation else None
            if shared:
                _log.warning(
                    "%s is in data.%s.shards and in its validation_shards: validation would "
                    "measure samples that were trained on", min(shared), mode.value,
                )  # fmt: skip

    def setup(self, stage: str) -> None:
        """Tell the trainer not to validate where there is nothing to validate on."""
        if stage == "fit" and not self.validation_shards:
            self._trainer().limit_val_batches = 0  # an empty list of loaders draws a warning

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return by mode what would be read: data set, shards, samples, batches an epoch."""
        return {
            mode.value: {
                "dataset": shards.name,
                "shards": len(shards.entries),
                "samples": len(shards),
                "batches_per_epoch": len(shards) / self.loader.global_batch,
                "validation_samples": self._num_validation(mode),
            }
            for mode, shards in self.train_shards.items()
        }

    def epochs(self, step: int) -> dict[str, float]:
        """Return the epochs of each mode that lie before optimiser step ``step``.

        "Epoch" has no meaning for two sets together (method: Training).
        """
        return {
            mode.value: self.pattern.earlier_steps(step, mode)
            * self.loader.global_batch
            / len(shards)
            for mode, shards in self.train_shards.items()
        }

    def accumulation(self, world_size: int) -> int:
        """Return the micro-batches of one optimiser step on each of ``world_size`` ranks.

        Raises:
            InputError: If the global batch cannot be divided so.
        """
        return self._split(world_size, 0).accumulation

    def stream(self, world_size: int = 1, rank: int = 0) -> AlternatingStream:
        """Return the training stream of one rank: item m is its micro-batch m since step 0."""
        streams = {
            mode: self._mode_stream(shards, validation=False)
            for mode, shards in self.train_shards.items()
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
        """Return one finite loader for each mode that has validation shards."""
        trainer = self._trainer()
        return [
            self._data_loader(
                ValidationSet(
                    self._mode_stream(shards, validation=True),
                    self.loader.num_validation_samples,
                    self.loader.per_device_batch,
                    trainer.world_size,
                    trainer.global_rank,
                ),
                None,
            )
            for shards in self.validation_shards.values()
        ]

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
        return DataLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            shuffle=None if sampler else False,
            num_workers=workers,
            collate_fn=_whole_batch,
            worker_init_fn=start_worker,
            prefetch_factor=self.loader.prefetch if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _open_train_shards(self) -> dict[Mode, ShardSet]:
        opened: dict[Mode, ShardSet] = {}
        for mode, source in self._sources().items():
            if not self.pattern.uses(mode):
                continue
            if not source.shards:
                raise InputError(
                    f"data.{mode.value}.shards is not set, but the alternation uses "
                    f"{mode.value} batches; give data.{mode.value}.shards=PATTERN or "
                    f"alternation.{mode.value}=0"
                )
            opened[mode] = ShardSet.open(source.shards, mode, self.storage)
        return opened

    def _open_validation_shards(self) -> dict[Mode, ShardSet]:
        return {
            mode: ShardSet.open(source.validation_shards, mode, self.storage)
            for mode, source in self._sources().items()
            if source.validation_shards
        }

    def _sources(self) -> dict[Mode, AlignmentSource | RefinementSource]:
        return {Mode.ALIGNMENT: self.alignment, Mode.REFINEMENT: self.refinement}

    def _num_validation(self, mode: Mode) -> int:
        shards = self.validation_shards.get(mode)
        return min(len(shards), self.loader.num_validation_samples) if shards else 0

    def _split(self, world_size: int, rank: int) -> BatchSplit:
        return BatchSplit(
            global_batch=self.loader.global_batch,
            per_device_batch=self.loader.per_device_batch,
            world_size=world_size,
            rank=rank,
        )

    def _recipe(self, mode: Mode, *, validation: bool = False) -> Recipe:
        return Recipe(
            image_size=self.loader.image_size,
            reference_size=self.loader.reference_size,
            masks=self.mask_source,
            seed=_VALIDATION_SEED if validation else self.seed,
            namespace=f"validation-{mode.value}" if validation else mode.value,
        )

    def _mode_stream(self, shards: ShardSet, *, validation: bool) -> ModeStream:
        mode = shards.kind
        recipe, source = self._recipe(mode, validation=validation), self._sources()[mode]
        maker = functools.partial(_examples, source.settings, recipe, self.mask_source)
        make: ExampleMaker
        if validation:
            make = maker(1.0, 1.0, complete_reference=True)
        else:
            make = CurriculumExamples(self.curriculum, maker)
        order = SampleOrder(recipe.seed, recipe.namespace, shards.sizes, source.shuffle_window)
        return ModeStream(shards, order, make)


def _examples(
    settings: AlignmentSettings | RefinementSettings,
    recipe: Recipe,
    masks: ProfileMasks,
    difficulty: float,
    area_factor: float,
    *,
    complete_reference: bool = False,
) -> ExampleMaker:
    """Make the examples of one difficulty (see `Curriculum`)."""
    recipe = dataclasses.replace(recipe, masks=masks.scaled(area_factor))
    if isinstance(settings, AlignmentSettings):
        return AlignmentExamples(settings.eased(difficulty), recipe)
    return RefinementExamples(
        settings.eased(difficulty), recipe, complete_reference=complete_reference
    )


def _whole_batch(batch: Any) -> Any:
    """Stand in for the loader's collating: the stream makes whole batches."""
    return batch
