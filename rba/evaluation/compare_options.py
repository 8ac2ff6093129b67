"""The options of ``rba evaluate compare``; what does the work is imported when it is called."""

import argparse


def add_compare(evaluate: argparse.ArgumentParser) -> None:
    """Add ``compare A B`` to the parser of ``rba evaluate``."""
    compare = evaluate.add_subparsers(metavar="compare").add_parser(
        "compare", help="two outputs on one benchmark: paired differences, a sign test"
    )
    compare.add_argument("first", metavar="A", help="output folder of rba evaluate --bench")
    compare.add_argument("second", metavar="B", help="another one, on the same benchmark")
    compare.add_argument("--methods", metavar="A,B", help="rows (default: all that both have)")
    compare.add_argument("--json", metavar="FILE", help="all figures, of all metrics")
    compare.add_argument("--seed", type=int, default=0, help="of the intervals' resamples")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from rba.evaluation.compare_command import CompareCommand, run_compare

    names = ("first", "second", "methods", "json", "seed")
    run_compare(CompareCommand(**{name: getattr(options, name) for name in names}))
