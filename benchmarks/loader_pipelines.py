"""The four loops that the loader's benchmark sets side by side, of the same samples and transforms.

``ours`` is the data module's training stream through its own `DataLoader`. ``plain`` is a
`webdataset.WebDataset` decoded, mapped by the same example maker and batched by the same collate,
without a shuffle buffer. ``bare`` reads the same tars and decodes whole records, nothing else.
``bound`` decodes and transforms bytes that are in memory already: no order, reading or collating.
"""

import dataclasses
import itertools
import multiprocessing
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import webdataset
from torch.utils.data import DataLoader, default_collate

from rba.batch import Batch, Example, Mode
from rba.data.sample import AlignmentRecord, Record, RefinementRecord, decode_record
from rba.settings import build, compose_config

BATCH = 8
_PIPE_WAIT = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class Scene:
    """Shards of both modes and the configuration that trains on them.

    Attributes:
        name: Its name in the table.
        overrides: Of ``conf/train.yaml``.
        folders: The shards of each mode.
    """

    name: str
    overrides: tuple[str, ...]
    folders: Mapping[Mode, Path]

    def module(self, mode: Mode, workers: int) -> Any:
        """Build the data module of one mode alone, as training does."""
        shards = [f"data.{other.value}.shards={self.folders[other]}" for other in Mode]
        sizes = [f"global_batch={BATCH}", f"per_device_batch={BATCH}"]
        config = compose_config(
            "train",
            [*self.overrides, *shards, *sizes, f"alternation={mode.value}_only",
             f"data.num_workers={workers}"],
        )  # fmt: skip
        module = build(config.data)
        module.trainer = SimpleNamespace(
            world_size=1, global_rank=0, global_step=0, accumulate_grad_batches=1
        )
        return module

    def maker(self, mode: Mode) -> Callable[[Any, int, str], Example]:
        """Return what turns a record into an example of training."""
        return self.module(mode, 0).stream().streams[mode].make

    def tars(self, mode: Mode) -> list[str]:
        """Return the tars of a mode."""
        return [str(path) for path in sorted(self.folders[mode].glob("*.tar"))]

    def members(self, mode: Mode) -> list[dict[str, bytes]]:
        """Read all samples of a mode into memory."""
        return [members for _, members in _read(self.tars(mode))]


def ours(scene: Scene, mode: Mode, workers: int) -> Iterator[Batch]:
    """Return the endless batches of the data module."""
    return iter(scene.module(mode, workers).train_dataloader())


def plain(scene: Scene, mode: Mode, workers: int) -> Iterator[Batch]:
    """Return the endless batches of a plain WebDataset pipeline."""
    make, draws = scene.maker(mode), itertools.count()
    tars = scene.tars(mode)

    def example(sample: dict[str, Any]) -> Example:
        return make(_record(mode, sample), next(draws), sample["__key__"])

    def collate(examples: list[Example]) -> Batch:
        return Batch.collate(mode, examples, stack=default_collate)  # into shared memory

    dataset = (
        webdataset.WebDataset(tars, shardshuffle=len(tars))
        .decode("rgb8")
        .map(example)
        .batched(BATCH, collation_fn=collate, partial=False)
        .repeat()
    )
    return iter(
        DataLoader(dataset, batch_size=None, num_workers=workers, worker_init_fn=_start_worker)
    )


def bare(scene: Scene, mode: Mode) -> Iterator[Record]:
    """Return the endless whole records of the tars, read from front to back."""
    tars = scene.tars(mode)
    while True:
        for key, members in _read(tars):
            yield decode_record(mode, key, members)


def bound(scene: Scene, mode: Mode) -> Iterator[Example]:
    """Return endless examples of bytes in memory, decoded as the stream decodes them."""
    make, samples = scene.maker(mode), scene.members(mode)
    for draw in itertools.count():
        record = decode_record(mode, "0", samples[draw % len(samples)], lazily=True)
        yield make(record, draw, "s")


LOADERS = {"ours": ours, "plain": plain}
LOOPS: dict[str, Callable[[Scene, Mode], Iterator[Any]]] = {"bare": bare, "bound": bound}


def loop_rate(
    loop: str, scene: Scene, mode: Mode, processes: int, seconds: float
) -> tuple[float, float]:
    """Return the samples a second of ``processes`` loops side by side (0: in this process).

    Returns:
        By the clock, and by the processor's time of one process.
    """
    if processes == 0:
        return _run_loop(loop, scene, mode, seconds)
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(processes)]
    started = [
        context.Process(target=_send_rate, args=(send, loop, scene, mode, seconds))
        for _, send in pipes
    ]
    for process in started:
        process.start()
    rates = []
    for receive, _ in pipes:
        assert receive.poll(_PIPE_WAIT), f"the loop {loop} of {scene.name} sends no figure"
        rates.append(receive.recv())
    for process in started:
        process.join()
    return sum(rate for rate, _ in rates), float(np.mean([rate for _, rate in rates]))


def _send_rate(send: Any, loop: str, scene: Scene, mode: Mode, seconds: float) -> None:
    _start_worker(0)
    send.send(_run_loop(loop, scene, mode, seconds))


def _run_loop(loop: str, scene: Scene, mode: Mode, seconds: float) -> tuple[float, float]:
    samples = LOOPS[loop](scene, mode)
    for _ in range(BATCH):
        next(samples)
    clock, processor, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - clock < seconds:
        next(samples)
        count += 1
    return count / (time.perf_counter() - clock), count / (time.process_time() - processor)


def _start_worker(_worker: int) -> None:
    cv2.setNumThreads(0)


def _read(tars: list[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Return the samples of tars, each as its key and members."""
    for name in tars:
        with tarfile.open(name, "r:") as tar:
            key, members = "", dict[str, bytes]()
            for info in tar:
                stem, _, suffix = info.name.partition(".")
                if members and stem != key:
                    yield key, members
                    members = {}
                stream = tar.extractfile(info)
                assert stream is not None
                key, members[suffix] = stem, stream.read()
            yield key, members


def _record(mode: Mode, sample: dict[str, Any]) -> Record:
    """Return the record of a sample that WebDataset has decoded."""
    facts = {name: value for name, value in sample["json"].items() if name != "schema"}
    if mode is Mode.ALIGNMENT:
        return AlignmentRecord(
            key=sample["__key__"], image=sample["jpg"], mask=_mask(sample, "mask.png"),
            metadata=facts,
        )  # fmt: skip
    return RefinementRecord(
        key=sample["__key__"],
        target=sample["target.jpg"],
        reference=sample["reference.jpg"],
        target_mask=_mask(sample, "target_mask.png"),
        reference_mask=_mask(sample, "reference_mask.png"),
        matches=sample.get("matches.npy"),
        metadata=facts,
    )


def _mask(sample: dict[str, Any], name: str) -> np.ndarray | None:
    return sample[name][..., 0] >= 128 if name in sample else None
