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
    """Check all, seed, instantiate, fit; a mistake is an `InputError` before a weight is read."""
    from lightning.pytorch import seed_everything

    from rba.models.trained_parts import choose_trained
    from rba.training import check, first_weights, start_check
    from rba.training import run as running
    from rba.training.run_folder import RunFolder

    run = RunFolder.named(config.runs_folder, config.run_name)
    start = run.starting_point(config.resume, config.init_from)
    devices = running.world_size(config.trainer)
    data = build(config.data)
    data.check(num_devices=devices)
    bare = without_sources(config.model.network)
    facts = running.checkpoint_facts(plain(config), data)
    shapes: Any = check.on_meta(lambda: build(bare))
    choose_trained(shapes, config.train_parts, lora := build(config.lora))
    outline = build_module(config, shapes, facts)
    changes = start_check.require_fitting_start(shapes, start, facts)
    if pretrained := config.init_from is None and first_weights.needs_first_weights(start):
        require_sources(config.model, look_up=not config.check)
    callbacks = [build(part) for part in config.callbacks.values()]
    loggers = [build(part) for part in config.logger.values()]
    check.require_fitting_parts(shapes, config.model.image_size, config.per_device_batch)
    if config.check:
        print(running.describe(outline, data, plain(config), devices, start, changes))
        return
    trainer = running.make_trainer(
        plain(config.trainer),
        callbacks=callbacks,
        loggers=loggers,
        max_steps=config.max_steps,
        validate_every_n_steps=config.validate_every_n_steps,
        accumulation=data.accumulation(devices),
        samples_file=run.samples if config.record_samples else None,
    )
    if run.prepare(OmegaConf.to_yaml(config), start, changes) >= config.max_steps:
        print(f"{start} has reached max_steps={config.max_steps}: raise it to train on")
    seed_everything(config.seed, verbose=False)
    network = build(config.model.network if pretrained else bare)
    facts |= first_weights.prepare_network(network, plain(config), lora, start)
    module = build_module(config, network, facts)
    running.fit(trainer, module, datamodule=data, ckpt_path=start, weights_only=True)


def build_module(config: DictConfig, network: Any, facts: dict[str, Any]) -> Any:
    """Wire the LightningModule around a network; its checkpoints keep the facts."""
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
        facts=facts,
    )


if __name__ == "__main__":
    main()
