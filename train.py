"""Train: ``python train.py experiment=tiny run_name=NAME key=value ...`` (see conf/train.yaml)."""

from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from rba.settings import (
    build,
    check_train_settings,
    plain,
    require_sources,
    user_errors,
    without_sources,
)


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Check everything, then train; with ``check=true`` only say what would be trained."""
    with user_errors():
        check_train_settings(config)
        train(config)


def train(config: DictConfig) -> None:
    """Compose, check, seed, instantiate, fit.

    Raises:
        InputError: For any mistake in the configuration, before a weight is read.
    """
    from lightning.pytorch import seed_everything

    from rba.models.checkpoint import load_weights, require_same_architecture
    from rba.training import run as running
    from rba.training.check import on_meta
    from rba.training.run_folder import RunFolder

    run = RunFolder.named(config.runs_folder, config.run_name)
    start = run.starting_point(config.resume, config.init_from)
    devices = running.num_devices(config.trainer.devices) * config.trainer.num_nodes
    data = build(config.data)
    data.check(num_devices=devices)
    bare = without_sources(config.model.network)
    shapes: Any = on_meta(lambda: build(bare))
    outline = build_module(config, shapes)
    if config.init_from is not None:
        require_same_architecture(config.init_from, shapes.describe())
    else:
        require_sources(config.model.network)
    if config.check:
        print(running.describe(outline, data, plain(config), devices, start))
        return

    seed_everything(config.seed, verbose=False)
    fresh = start is None and config.init_from is None
    network = build(config.model.network if fresh else bare)
    if start is None and config.init_from is not None:
        load_weights(network, config.init_from)
    run.prepare(OmegaConf.to_yaml(config), start)
    trainer = running.make_trainer(
        plain(config.trainer),
        callbacks=[build(callback) for callback in config.callbacks.values()],
        loggers=[build(logger) for logger in config.logger.values()],
        max_steps=config.max_steps,
        validate_every_n_steps=config.validate_every_n_steps,
        accumulation=data.accumulation(devices),
        samples_file=run.samples if config.record_samples else None,
    )
    module = build_module(config, network)
    trainer.fit(module, datamodule=data, ckpt_path=start, weights_only=True)


def build_module(config: DictConfig, network: Any) -> Any:
    """Wire the LightningModule around a network."""
    from rba.training.module import RefineByAlignModule

    return RefineByAlignModule(
        network,
        build(config.model.scheduler),
        build(config.objective.loss),
        optimizer=build(config.optimizer.factory),
        learning_rates=plain(config.optimizer.learning_rates),
        warmup_steps=config.optimizer.warmup_steps,
        seed=config.seed,
        validation=build(config.validation),
        facts={"config": plain(config), "image_size": config.model.image_size},
    )


if __name__ == "__main__":
    main()
