"""``rba bench``: check, import and render folders of cases.

Each subcommand is imported only when it is called.
This file is read at every start of ``rba``: it imports nothing heavy.
"""

import argparse
from typing import Any


def add_bench(commands: Any) -> None:
    """Add ``rba bench`` and its subcommands to the command line's subparsers."""
    bench = commands.add_parser("bench", help="folders of cases: check them, make them")
    actions = bench.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_check,):
        add(actions)


def _add_check(actions: Any) -> None:
    check = actions.add_parser(
        "check", help="name every broken case of a folder, and count what the others hold"
    )
    check.add_argument("folder", metavar="DIR", help="folder of cases, see docs/benchmark.md")
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace) -> None:
    from rba.evaluation.bench_check import run_check

    run_check(options.folder)
