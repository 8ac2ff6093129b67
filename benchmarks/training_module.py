"""The module of a benchmark's training, wired from a configuration as `train.py` does it."""

from typing import Any

from rba.settings import build, plain, without_sources
from rba.training.module import RefineByAlignModule


def make_module(
    config: Any, network: Any = None, kind: type[RefineByAlignModule] = RefineByAlignModule
) -> Any:
    """Wire a module.

    Args:
        config: A composed training configuration.
        network: None = a new one of random weights.
        kind: The class.
    """
    return kind(
        build(without_sources(config.model.network)) if network is None else network,
        build(config.model.scheduler),
        build(config.objective.loss),
        optimizer=build(config.optimizer.factory),
        learning_rates=plain(config.optimizer.learning_rates),
        warmup_steps=config.optimizer.warmup_steps,
        facts={"image_size": config.model.image_size, "config": {}},
    )
