"""Turn a folder of objects, each a folder of views, into refinement shards with matches.

python data_tools/build_refinement_shards.py objects=DIR out=DIR [key=value ...]
"""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from rba.batch import Mode
from rba.data.build import BuildReport, DroppedError, require_limits, write_records
from rba.data.objects import Pair, choose_pairs, find_objects, load_view
from rba.data.sample import RefinementRecord
from rba.data.writer import ShardWriter
from rba.errors import InputError
from rba.matching.exact import exact_matches, read_correspondence
from rba.matching.sift import sift_features, sift_matches
from rba.settings import tool_main

_STORED = ("seed", "matcher", "longest_side", "max_pairs", "min_matches", "quality")


def main(config: DictConfig) -> None:
    """Match and write pairs of views in a shuffled order.

    Raises:
        InputError: If the input is missing or empty, or the output already holds shards.
    """
    started = time.perf_counter()
    if config.matcher not in ("auto", "exact", "sift"):
        raise InputError(f"matcher={config.matcher}; give auto, exact or sift")
    require_limits(config, max_pairs=1, min_matches=1)
    report, pairs = BuildReport(), list[Pair]()
    for folder in find_objects(config.objects):
        try:
            pairs += choose_pairs(folder, config.max_pairs, config.seed)
        except DroppedError as reason:
            report.drop(reason, folder.path.name)
    inputs, load = [(pair.name, pair) for pair in pairs], record_loader(config)
    writer = ShardWriter(
        Path(config.out).expanduser(),
        kind=Mode.REFINEMENT,
        samples_per_shard=config.samples_per_shard,
        settings={"tool": "build_refinement_shards", **{name: config[name] for name in _STORED}},
        overwrite=config.overwrite,
    )
    with writer:
        write_records(inputs, load, writer, report, seed=config.seed, quality=config.quality)
    report.finish(writer.folder, time.perf_counter() - started)


def record_loader(config: DictConfig) -> Callable[[Pair, str], RefinementRecord]:
    """Return the function that reads and matches a pair; recently used views are kept."""
    view = functools.lru_cache(maxsize=16)(lambda path: load_view(path, config.longest_side))
    features = functools.lru_cache(maxsize=64)(
        lambda path: sift_features(view(path).image, view(path).mask)
    )

    def load(pair: Pair, key: str) -> RefinementRecord:
        target, reference = view(pair.target), view(pair.reference)
        matcher = config.matcher
        if matcher == "auto":
            matcher = "exact" if pair.correspondence.exists() else "sift"
        if matcher == "exact":
            matches = read_exact(pair, *target.image.shape[:2])
        else:
            matches = sift_matches(features(pair.target), features(pair.reference))
        count = int(np.isfinite(matches[..., 0]).sum())
        if count < config.min_matches:
            raise DroppedError("too few matches")
        views = [pair.target.name, pair.reference.name]
        return RefinementRecord(
            key=key,
            target=target.image,
            reference=reference.image,
            target_mask=target.mask,
            reference_mask=reference.mask,
            matches=matches,
            metadata={"object": pair.object, "views": views, "matcher": matcher, "matches": count},
        )

    return load


def read_exact(pair: Pair, height: int, width: int) -> np.ndarray:
    """Read the matches of a pair whose geometry is known."""
    if not pair.correspondence.exists():
        raise DroppedError("no exact correspondence")
    try:
        return exact_matches(read_correspondence(pair.correspondence), height, width)
    except InputError as error:
        raise DroppedError("unreadable correspondence") from error


if __name__ == "__main__":
    tool_main("build_refinement_shards", main)
