"""``rba bench``: check, import and render folders of cases.

Each subcommand is imported only when it is called.
This file is read at every start of ``rba``: it imports nothing heavy.
"""

import argparse
from typing import Any


def add_bench(commands: Any) -> Any:
    """Add ``rba bench`` and its subcommands to the command line's subparsers.

    Returns:
        The subparsers of ``rba bench``, for actions that live in higher rows.
    """
    bench = commands.add_parser("bench", help="folders of cases: check them, make them")
    actions = bench.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_check, _add_import):
        add(actions)
    return actions


def _add_check(actions: Any) -> None:
    check = actions.add_parser(
        "check", help="name every broken case of a folder, and count what the others hold"
    )
    check.add_argument("folder", metavar="DIR", help="folder of cases, see docs/benchmark.md")
    check.set_defaults(run=_check)


def _add_import(actions: Any) -> None:
    taken = actions.add_parser(
        "import", help="make cases of what a generator wrote, or of your own files"
    )
    taken.add_argument("source", metavar="SOURCE", help="its output folder, or a CSV file")
    taken.add_argument(
        "--from",
        dest="kind",
        required=True,
        choices=("dreambooth", "zero123plus", "anydoor", "idm_vton", "csv"),
        help="what wrote it; csv: your own files, see docs/benchmark.md",
    )
    taken.add_argument("--output", required=True, metavar="DIR", help="folder of cases, new or not")
    taken.add_argument(
        "--references", metavar="DIR", help="photos (dreambooth), given views, VITON-HD's folder"
    )
    taken.add_argument(
        "--masks", metavar="DIR", help="artifact masks (default: NAME_mask.png beside NAME.png)"
    )
    taken.add_argument("--pairs", choices=("paired", "unpaired"), help="idm_vton: whose garment")
    taken.add_argument(
        "--first-panel", choices=("equal", "square"), help="anydoor: width of the first panel"
    )
    taken.add_argument("--task", help="instead of the generator's task")
    taken.add_argument("--generator", help="instead of the generator's name")
    taken.set_defaults(run=_import)


def _check(options: argparse.Namespace) -> None:
    from rba.evaluation.bench_check import run_check

    run_check(options.folder)


def _import(options: argparse.Namespace) -> None:
    from rba.evaluation.bench_import import ImportCommand, run_import

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_import(ImportCommand(**given))
