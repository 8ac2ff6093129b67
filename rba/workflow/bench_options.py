"""``rba bench render`` and ``rba robustness`` on the command line.

This file is read at every start of ``rba``: it imports nothing heavy.
"""

import argparse
from typing import Any


def add_bench_render(actions: Any) -> None:
    """Add ``render`` to the subparsers of ``rba bench``."""
    render = actions.add_parser(
        "render", help="make the synthetic set: 146 groups with exact truth"
    )
    render.add_argument("--output", required=True, help="folder of the set; one begun goes on")
    render.add_argument("--count", type=int, help="groups, shared out over the kinds (default 146)")
    render.add_argument(
        "--split", default="easy", help="easy, or hard: pictures, letters, shapes not trained on"
    )
    render.add_argument("--size", type=int, default=128, help="pixels a side (default 128)")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--textures", metavar="DIR", help="photographs (default scikit-image's)")
    render.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="of conf/bench/render.yaml"
    )
    render.set_defaults(run=_bench_render)


def add_robustness(commands: Any) -> None:
    """Add ``rba robustness`` to the command line's subparsers."""
    sweep = commands.add_parser(
        "robustness", help="make one thing harder at a time: angle, scale, light, occlusion, ..."
    )
    sweep.add_argument(
        "--model", required=True, help="model directory, made by `rba export`, or a shipped name"
    )
    sweep.add_argument("--output", required=True, help="folder of curves; one begun goes on")
    sweep.add_argument("--methods", help="names between commas (default: ours and the classical)")
    sweep.add_argument("--sweeps", help="names between commas (default: all that are configured)")
    sweep.add_argument("--count", type=int, help="cases a point (default 16)")
    sweep.add_argument("--size", type=int, help="pixels a side (default 128)")
    sweep.add_argument("--steps", type=int, help="sampler steps (default 20)")
    sweep.add_argument("--guidance-scale", type=float, help="default 5")
    sweep.add_argument("--max-magnification", type=float, help="default 4")
    sweep.add_argument("--seed", type=int)
    sweep.add_argument("--batch-size", type=int, help="default 8")
    sweep.add_argument("--device", help="auto, cpu, cuda, cuda:1, mps")
    sweep.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="of conf/bench/robustness.yaml"
    )
    sweep.set_defaults(run=_robustness)


def _bench_render(options: argparse.Namespace) -> None:
    from rba.workflow.bench_render import BenchRenderCommand, run_bench_render

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_bench_render(BenchRenderCommand(**given))


def _robustness(options: argparse.Namespace) -> None:
    from rba.workflow.robustness import RobustnessCommand, run_robustness

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_robustness(
        RobustnessCommand(**{key: value for key, value in given.items() if value is not None})
    )
