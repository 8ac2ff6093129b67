"""``rba study``: build a user study's page, analyse its answers.

Each subcommand is imported only when it is called.
This file is read at every start of ``rba``: it imports nothing heavy.
"""

import argparse
from typing import Any


def add_study(commands: Any) -> None:
    """Add ``rba study`` and its subcommands to the command line's subparsers."""
    study = commands.add_parser("study", help="ask people: build the page, analyse the answers")
    actions = study.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_build, _add_analyze):
        add(actions)


def _add_build(actions: Any) -> None:
    build = actions.add_parser("build", help="a page that raters open without a server, and a key")
    build.add_argument("--bench", required=True, metavar="DIR", help="folder of cases")
    build.add_argument(
        "--results",
        required=True,
        nargs="+",
        action="extend",
        metavar="NAME=DIR",
        help="a method's pictures CASE_ID.png; two methods or more",
    )
    build.add_argument("--output", required=True, metavar="DIR", help="new folder")
    build.add_argument("--raters", type=int, default=24, help="numbers given out (default 24)")
    build.add_argument("--questions", type=int, help="a rater and section (default: about 30)")
    build.add_argument("--checks", type=int, default=2, help="attention checks a section (2)")
    build.add_argument("--at-once", default="2", help="methods shown at once, or all (default 2)")
    build.add_argument("--frame", action="store_true", help="frame the artifact mask's place")
    build.add_argument("--post", metavar="URL", help="where answers go (default: download only)")
    build.add_argument("--seed", type=int, default=0)
    build.set_defaults(run=_build)


def _add_analyze(actions: Any) -> None:
    analyze = actions.add_parser("analyze", help="preferences, intervals, agreement, tests")
    analyze.add_argument("answers", nargs="+", metavar="ANSWERS", help="JSON files, or folders")
    analyze.add_argument("--key", required=True, metavar="FILE", help="key.json of the study")
    analyze.add_argument("--output", required=True, metavar="DIR", help="study.json, study.md")
    analyze.add_argument(
        "--allowed-failures", type=int, default=0, help="failed checks a rater may have (default 0)"
    )
    analyze.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    analyze.set_defaults(run=_analyze)


def _build(options: argparse.Namespace) -> None:
    from rba.evaluation.study.build import BuildCommand, run_build

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_build(BuildCommand(**given))


def _analyze(options: argparse.Namespace) -> None:
    from rba.evaluation.study.analyze import AnalyzeCommand, run_analyze

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_analyze(AnalyzeCommand(**given))
