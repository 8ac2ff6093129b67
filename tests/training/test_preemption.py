"""A signal ends a run after the step, with a checkpoint to go on from."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from rba.errors import InputError, RunInterruptedError, command_message, exit_status
from rba.settings import check_train_settings, compose_config
from rba.training.callbacks.preemption import Preemption
from rba.training.callbacks.resume_checkpoint import ResumeCheckpoint, list_checkpoints
from rba.training.checkpoint_io import AtomicCheckpointIO

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*dataloader is not resumable"),
    pytest.mark.filterwarnings("ignore:.*GPU available but not used"),
]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    earlier = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in earlier.items():
        signal.signal(signum, handler)


class Signalled(LightningModule):
    """One weight, two micro-batches a step; micro-batch or validation batch n sends a signal."""

    def __init__(self, place: str = "", number: int = -1, signum: int = signal.SIGTERM) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.at, self.signum = (place, number), signum
        self.seen = {"train": 0, "validate": 0}

    def count(self, place: str) -> None:
        self.seen[place] += 1
        if self.at == (place, self.seen[place]):
            os.kill(os.getpid(), self.signum)

    def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
        self.count("train")
        return (self.weight * batch.mean()) ** 2

    def validation_step(self, batch: torch.Tensor, _: int) -> None:
        self.count("validate")

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 1e-4, momentum=0.9)


def fit(
    folder: Path, module: Signalled, start: Path | None = None, *, requeue: bool = False
) -> None:
    done = 0 if start is None else 2 * int(start.stem[5:])
    trainer = Trainer(
        accelerator="cpu", max_steps=6, max_epochs=-1, logger=False, accumulate_grad_batches=2,
        callbacks=[ResumeCheckpoint(folder, 100), Preemption(requeue)],
        plugins=[AtomicCheckpointIO()], val_check_interval=8, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, enable_progress_bar=False, enable_checkpointing=False,
        enable_model_summary=False,
    )  # fmt: skip
    data: Any = torch.arange(1.0, 40.0)[done:]
    validation = DataLoader[Any](data[:3], batch_size=1)
    trainer.fit(
        module, DataLoader(data, batch_size=1), validation, ckpt_path=start, weights_only=True
    )


def saved_steps(folder: Path) -> list[int]:
    return [int(path.stem[5:]) for path in list_checkpoints(folder)]


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize(
    ("place", "number", "step"), [("train", 1, 1), ("train", 5, 3), ("train", 6, 3),
                                  ("validate", 2, 4)],
)  # fmt: skip
def test_the_step_is_finished_and_saved_and_the_run_goes_on_from_it(
    tmp_path: Path, place: str, number: int, step: int, signum: int
) -> None:
    module = Signalled(place, number, signum)
    with pytest.raises(RunInterruptedError) as caught:
        fit(tmp_path, module)
    assert exit_status(caught.value) == 75
    name = signal.Signals(signum).name
    assert command_message(caught.value) == (
        f"{name} ended the run after step {step}; resume=auto goes on"
    )
    assert module.seen["validate"] == (2 if place == "validate" else 0)
    assert saved_steps(tmp_path) == [step]
    whole, resumed = Signalled(), Signalled()
    fit(tmp_path / "whole", whole)
    fit(tmp_path / "resumed", resumed, list_checkpoints(tmp_path)[0])
    assert resumed.seen["train"] == 12 - 2 * step
    assert torch.equal(whole.weight, resumed.weight)


def test_a_signal_in_the_last_step_lets_the_run_end_as_usual(tmp_path: Path) -> None:
    fit(tmp_path, Signalled("train", 12))
    assert saved_steps(tmp_path) == [6]


def test_handlers_are_put_back(tmp_path: Path) -> None:
    earlier = [signal.getsignal(signum) for signum in SIGNALS]
    fit(tmp_path, Signalled())
    assert [signal.getsignal(signum) for signum in SIGNALS] == earlier


def in_a_process(target: Callable[..., None]) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(20)
    return process.exitcode


def test_a_second_sigint_ends_at_once_a_second_of_the_others_does_not() -> None:
    def send(*signals: int, launcher: Any = None) -> None:
        trainer: Any = SimpleNamespace(
            _signal_connector=SimpleNamespace(), strategy=SimpleNamespace(launcher=launcher)
        )
        module: Any = None
        Preemption().setup(trainer, module, "fit")
        for signum in signals:
            signal.raise_signal(signum)

    assert in_a_process(lambda: send(signal.SIGINT, signal.SIGINT)) == -signal.SIGINT
    assert in_a_process(lambda: send(signal.SIGTERM, signal.SIGINT)) == -signal.SIGINT
    assert in_a_process(lambda: send(signal.SIGINT, signal.SIGTERM, signal.SIGTERM)) == 0
    # The processes that Lightning launched end first, by SIGKILL.
    launcher = SimpleNamespace(kill=lambda signum: os._exit(40 + signum))
    twice = (signal.SIGINT, signal.SIGINT)
    assert in_a_process(lambda: send(*twice, launcher=launcher)) == 40 + signal.SIGKILL


@pytest.mark.parametrize(
    ("signum", "requeue", "asked"),
    [
        (signal.SIGTERM, True, True),
        (signal.SIGUSR1, True, True),
        (signal.SIGINT, True, False),
        (signal.SIGTERM, False, False),
    ],
)
def test_slurm_is_asked_after_the_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int, requeue: bool, asked: bool
) -> None:
    stub = tmp_path / "bin" / "scontrol"
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$@" $(ls {tmp_path}/run) > {tmp_path}/asked\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "417")
    with pytest.raises(RunInterruptedError):
        fit(tmp_path / "run", Signalled("train", 3, signum), requeue=requeue)
    assert (tmp_path / "asked").exists() is asked
    if asked:
        assert (tmp_path / "asked").read_text().split() == ["requeue", "417", "step_00000002.ckpt"]


@pytest.mark.parametrize(
    ("script", "words"), [("exit 1", "was not requeued"), (None, "was not requeued")]
)
def test_a_requeue_that_fails_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: str | None,
    words: str,
) -> None:
    if script:
        (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "417")
    trainer: Any = SimpleNamespace(is_global_zero=True)
    module: Any = None
    Preemption(True).on_exception(trainer, module, RunInterruptedError("ended", "SIGTERM"))
    assert words in caplog.text


def test_requeue_needs_a_command_that_resumes() -> None:
    options = ["experiment=tiny", "run_name=a", "callbacks.preemption.requeue=true"]
    options += ["data.alignment.shards=x", "data.refinement.shards=y"]
    config = compose_config("train", [*options, "resume=auto"])
    check_train_settings(config)
    OmegaConf.update(config, "resume", None)
    with pytest.raises(InputError, match=r"requeue=true.*give resume=auto"):
        check_train_settings(config)
