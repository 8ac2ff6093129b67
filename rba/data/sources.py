"""Settings of the data module: where each mode's shards lie, and how they are loaded."""

import dataclasses

from rba.data.alignment import AlignmentSettings
from rba.data.order import DEFAULT_WINDOW
from rba.data.refinement import RefinementSettings
from rba.data.shard_choice import ShardChoice
from rba.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlignmentSource:
    """The alignment mode's shards and how they become examples.

    Attributes:
        shards: One or several sets of shards (see `ShardChoice`); None where the mode is not used.
        validation_shards: The same for validation, or None; weights mean nothing there.
        settings: How a photo becomes an example.
        shuffle_window: Shards that are shuffled together.

    Raises:
        InputError: If the window is below 1.
    """

    shards: ShardChoice | None
    validation_shards: ShardChoice | None = None
    settings: AlignmentSettings = dataclasses.field(default_factory=AlignmentSettings)
    shuffle_window: int = DEFAULT_WINDOW

    def __post_init__(self) -> None:
        _check_window("alignment", self.shuffle_window)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RefinementSource:
    """The refinement mode's shards and how they become examples; fields as `AlignmentSource`."""

    shards: ShardChoice | None
    validation_shards: ShardChoice | None = None
    settings: RefinementSettings = dataclasses.field(default_factory=RefinementSettings)
    shuffle_window: int = DEFAULT_WINDOW

    def __post_init__(self) -> None:
        _check_window("refinement", self.shuffle_window)


def _check_window(mode: str, window: int) -> None:
    if window < 1:
        raise InputError(f"data.{mode}.shuffle_window={window}; give at least 1 shard")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoaderSettings:
    """Sizes and processes of loading.

    Attributes:
        global_batch: Samples of one optimiser step over all ranks and micro-batches.
        per_device_batch: Samples of one micro-batch of one rank.
        image_size: Side of targets in pixels.
        reference_size: Side of references in pixels.
        num_workers: Loader processes a rank; 0 loads in the training process.
        persistent_workers: Keep validation's loader processes between validations.
        prefetch: Micro-batches that each worker makes ahead.
        node_parts: In how many parts the shards of an epoch are dealt, so that each node reads its
            own: the number of nodes, or a multiple of it; 1 = every node reads all shards.
        num_validation_samples: Validation samples a shard set, at most.
        examples_per_sample: None = crop, hole, warp and colours of a sample are drawn anew in each
            epoch; N = it has N examples, which come in turn.
        shuffle_references: Give each training example the reference of its neighbour in the
            micro-batch: a control that cannot learn to use references.

    Raises:
        InputError: If a number is out of bounds.
    """

    global_batch: int
    per_device_batch: int
    image_size: int
    reference_size: int
    num_workers: int = 0
    persistent_workers: bool = True
    prefetch: int = 2
    node_parts: int = 1
    num_validation_samples: int = 64
    examples_per_sample: int | None = None
    shuffle_references: bool = False

    def __post_init__(self) -> None:
        if self.shuffle_references and self.per_device_batch < 2:
            raise InputError(
                f"data.shuffle_references=true needs a neighbour, but per_device_batch="
                f"{self.per_device_batch}; give at least 2"
            )
        least_values = {
            "num_workers": 0,
            "prefetch": 1,
            "num_validation_samples": 1,
            "node_parts": 1,
        }
        for name, least in least_values.items():
            if getattr(self, name) < least:
                raise InputError(f"data.{name}={getattr(self, name)}; give at least {least}")
        if self.examples_per_sample is not None and self.examples_per_sample < 1:
            raise InputError(
                f"data.examples_per_sample={self.examples_per_sample}; give at least 1, or null "
                "for a new one in each epoch"
            )
