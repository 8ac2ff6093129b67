"""From opened shard sets and settings to the streams of one mode."""

import dataclasses
import functools

from rba.data.alignment import AlignmentExamples, AlignmentSettings
from rba.data.curriculum import Curriculum, CurriculumExamples
from rba.data.mixed_stream import MixedStream
from rba.data.mode_stream import ExampleMaker, ModeStream
from rba.data.order import SampleOrder
from rba.data.recipe import ProfileMasks, Recipe
from rba.data.refinement import RefinementExamples, RefinementSettings
from rba.data.shard_choice import ShardChoiceSets
from rba.data.sources import AlignmentSource, RefinementSource


@dataclasses.dataclass(frozen=True)
class StreamBuilder:
    """What turns the records of one mode into streams of examples.

    Attributes:
        source: The mode's settings.
        recipe: Its namespace names the orders.
        masks: The recipe's source of masks, which difficulties scale.
    """

    source: AlignmentSource | RefinementSource
    recipe: Recipe
    masks: ProfileMasks

    def training(
        self,
        chosen: ShardChoiceSets,
        curriculum: Curriculum,
        parts: int,
        examples_per_sample: int | None = None,
    ) -> ModeStream | MixedStream:
        """Return the infinite stream over all sets."""
        make = CurriculumExamples(curriculum, self._maker())
        streams = [
            ModeStream(shards, self._order(chosen, number, parts), make, examples_per_sample)
            for number, shards in enumerate(chosen.sets)
        ]
        return streams[0] if len(streams) == 1 else MixedStream(streams, chosen.mixture)

    def validation(self, chosen: ShardChoiceSets) -> list[ModeStream]:
        """Return the stream of each set, at full difficulty and with complete references."""
        make = self._maker()(1.0, 1.0, complete_reference=True)
        return [
            ModeStream(shards, self._order(chosen, number, 1), make)
            for number, shards in enumerate(chosen.sets)
        ]

    def _order(self, chosen: ShardChoiceSets, number: int, parts: int) -> SampleOrder:
        # The only set of a mode may be renamed: its order does not depend on where it lies.
        name = self.recipe.namespace
        if len(chosen.sets) > 1:
            name = f"{name}/{chosen.sets[number].name}"
        sizes = chosen.sets[number].sizes
        return SampleOrder(self.recipe.seed, name, sizes, self.source.shuffle_window, parts)

    def _maker(self) -> "functools.partial[ExampleMaker]":
        return functools.partial(_examples, self.source.settings, self.recipe, self.masks)


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
