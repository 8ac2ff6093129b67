"""Turn objects seen from several sides into refinement shards: pairs of views with matches.

python data_tools/build_refinement_shards.py objects=INPUT out=OUT [key=value ...]

A stopped build goes on when it is started again. On several machines or in several processes:
python data_tools/build_refinement_shards.py --multirun objects=INPUT out=OUT parts=8 \
    'part=range(0,8)' hydra/launcher=submitit_slurm
python data_tools/merge_shards.py out=OUT
"""

from omegaconf import DictConfig

from rba.batch import Mode
from rba.data.build import BuildJob, build_shards, require_limits
from rba.data.objects import PairChoice, PairLoader, PairSettings, list_pairs
from rba.data.objects.loader import Matcher
from rba.data.objects.measured import write_matching_report
from rba.errors import InputError
from rba.matching.accuracy import Accuracy
from rba.matching.consistency import ConsistencySettings
from rba.matching.exact import read_exact
from rba.matching.sift import SiftMatcher, SiftSettings
from rba.settings import plain, tool_main

_MATCHERS = ("auto", "exact", "sift", "dinov2")
_STORED = (
    *("matcher", "encoder", "matching_side", "rigid", "masks", "longest_side", "max_megapixels"),
    *("max_pairs", "view_distance", "view_angle", "min_matches", "min_overlap"),
    *("max_disagreement", "quality"),
)


def main(config: DictConfig) -> None:
    """Choose, read, match and write pairs of views in a shuffled order.

    Raises:
        InputError: If the input is missing or empty, or the output holds another set.
    """
    require_limits(config, max_pairs=1, min_matches=1, max_megapixels=0, report_pairs=0)
    matcher = make_matcher(config)
    job = BuildJob.read(Mode.REFINEMENT, "build_refinement_shards", plain(config), _STORED)
    settings = PairSettings(
        longest_side=config.longest_side,
        most_pixels=round(config.max_megapixels * 1e6),
        masks=config.masks,
        matcher=config.matcher,
        min_matches=config.min_matches,
        min_overlap=config.min_overlap,
    )
    choice = PairChoice(
        max_pairs=config.max_pairs,
        view_distance=tuple(config.view_distance),
        view_angle=tuple(config.view_angle),
        seed=config.seed,
    )
    pairs = list_pairs(config.objects, config.layout, choice)
    print(pairs)
    name = "dinov2" if config.matcher == "dinov2" else "sift"
    loader = PairLoader(pairs.root, settings, read_exact, matcher, name)
    build_shards(pairs, loader, config.out, job, pairs.dropped, chunk=1)
    if config.report_pairs:
        with job.output(config.out) as output:
            write_matching_report(pairs, loader, output, config.report_pairs, Accuracy.of)


def make_matcher(config: DictConfig) -> Matcher | None:
    """Return what matches views from their pixels; None where only exact matches are wanted.

    Raises:
        InputError: If a setting is unknown or out of its range, or the encoder cannot be opened.
    """
    if config.matcher not in _MATCHERS:
        raise InputError(f"matcher={config.matcher}; give {', '.join(_MATCHERS)}")
    if config.matching_side < 64:
        raise InputError(f"matching_side={config.matching_side}; give at least 64")
    if not 0 <= config.max_disagreement <= 1:
        raise InputError(f"max_disagreement={config.max_disagreement}; give 0 to 1")
    limits = ConsistencySettings(most_disagreeing=config.max_disagreement)
    if config.matcher == "dinov2":
        # torch and transformers take seconds to import.
        from rba.matching.dinov2 import TokenMatcher, TokenSettings
        from rba.models.encoder import ViewTokens

        tokens = ViewTokens.open(config.encoder, config.matching_side)
        return TokenMatcher(tokens, TokenSettings(consistency=limits))
    if config.matcher == "exact":
        return None
    epipolar = 8.0 if config.rigid else 0.0
    return SiftMatcher(
        SiftSettings(side=config.matching_side, epipolar=epipolar, consistency=limits)
    )


if __name__ == "__main__":
    tool_main("build_refinement_shards", main)
