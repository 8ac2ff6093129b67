"""What the chosen shard sets mean for a run: sizes, epochs, and what deserves a warning."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from rba.batch import Mode
from rba.data.alternation import ModePattern
from rba.data.shard_choice import ShardChoiceSets
from rba.data.sources import LoaderSettings

Chosen: TypeAlias = Mapping[Mode, ShardChoiceSets]


def describe_sets(
    train: Chosen, validation: Chosen, loader: LoaderSettings, pattern: ModePattern
) -> dict[str, Any]:
    """Return by mode and set what would be read.

    Returns:
        A set's shards, samples, share of the mode's samples, batches of the mode and steps of the
        run (once the modes alternate) until an epoch of the set is over, and the shards that a rank
        reads in an epoch (all ranks of a node part read the same); beside the sets, ``validation
        samples`` by set.
    """
    described: dict[str, Any] = {}
    for mode, chosen in train.items():
        facts: dict[str, Any] = {}
        steps = pattern.share(mode)
        for number, shards in enumerate(chosen.sets):
            share = chosen.mixture.share(number)
            facts[shards.name] = {
                "shards": len(shards.entries),
                "samples": len(shards),
                "share": share,
                "batches_per_epoch": len(shards) / (loader.global_batch * share),
                "optimiser_steps_per_epoch": len(shards) / (loader.global_batch * share * steps),
                "shards_a_rank": -(-len(shards.entries) // loader.node_parts),
            }
        held_out = validation[mode].sets if mode in validation else ()
        facts["validation samples"] = {
            shards.name: min(len(shards), loader.num_validation_samples) for shards in held_out
        } or 0
        described[mode.value] = facts
    return described


def epochs_by_set(train: Chosen, samples: Mapping[Mode, int]) -> dict[str, float]:
    """Return how many epochs the first samples of each mode are.

    "Epoch" has no meaning for two sets together (method: Training): the keys are ``MODE``, or
    ``MODE_SET`` where a mode has several sets.
    """
    epochs: dict[str, float] = {}
    for mode, chosen in train.items():
        counts = chosen.mixture.counts(samples[mode])
        for shards, count in zip(chosen.sets, counts, strict=True):
            name = f"{mode.value}_{shards.name}" if len(chosen.sets) > 1 else mode.value
            epochs[name] = count / len(shards)
    return epochs


def count_different(train: Chosen, samples: Mapping[Mode, int]) -> int:
    """Return how many different samples are among the first ones of each mode."""
    return sum(
        min(count, len(shards))
        for mode, chosen in train.items()
        for shards, count in zip(chosen.sets, chosen.mixture.counts(samples[mode]), strict=True)
    )


def set_warnings(train: Chosen, validation: Chosen, loader: LoaderSettings) -> Iterator[str]:
    """Yield what is allowed and seldom meant."""
    for mode, chosen in train.items():
        for number, shards in enumerate(chosen.sets):
            taken = loader.global_batch * chosen.mixture.share(number)
            if len(shards) < taken:
                yield (
                    f"the {mode.value} shards of {shards.name} hold {len(shards)} samples, fewer "
                    f"than {_how_many(taken, loader.global_batch)}: some batches hold a sample "
                    "twice"
                )
            if 1 < loader.node_parts > len(shards.entries):
                yield (
                    f"data.node_parts={loader.node_parts}, but {shards.name} has only "
                    f"{len(shards.entries)} {mode.value} shards: nodes will read the same ones"
                )
        held_out = validation[mode].paths() if mode in validation else set()
        shared = chosen.paths() & held_out
        if shared:
            yield (
                f"{min(shared)} is in data.{mode.value}.shards and in its validation_shards: "
                "validation would measure samples that were trained on"
            )


def _how_many(taken: float, global_batch: int) -> str:
    if taken == global_batch:
        return f"a global batch of {global_batch}"
    return f"the {taken:.1f} that a global batch of {global_batch} takes of them"
