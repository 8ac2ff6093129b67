"""The ``rba`` command. Each subcommand imports what it needs only when it is called."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rba.errors import command_message


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and print a user's mistake as one line with status 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except Exception as error:
        message = command_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rba", description="Refine-by-Align")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    refine = commands.add_parser("refine", help="mend an artifact of an image after a reference")
    refine.add_argument(
        "--model", required=True, help="model directory, made by `rba export`, or a shipped name"
    )
    refine.add_argument("--image", required=True, help="generated image with a defect")
    refine.add_argument("--mask", required=True, help="mask of the defect, of the image's size")
    refine.add_argument("--reference", required=True, help="picture of the same object")
    refine.add_argument("--reference-mask", help="object mask of the reference")
    refine.add_argument("--output", required=True, help="refined image; PNG keeps every pixel")
    refine.add_argument("--save-intermediates", metavar="DIR", help="map, masks, crops, a panel")
    refine.add_argument("--steps", type=int, default=50, help="sampler steps (default 50)")
    refine.add_argument("--guidance-scale", type=float, default=5.0, help="default 5")
    refine.add_argument("--seed", type=int, default=0)
    refine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    refine.set_defaults(run=_refine)

    export = commands.add_parser("export", help="write a training checkpoint as a model directory")
    export.add_argument("--checkpoint", required=True, help="runs/NAME/checkpoints/step_*.ckpt")
    export.add_argument("--output", required=True, help="new folder")
    export.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="precision of the written weights (default float32); opening gives float32",
    )
    kind = export.add_mutually_exclusive_group()
    kind.add_argument("--ema", action="store_true", help="averaged weights (default)")
    kind.add_argument("--raw", action="store_true", help="the trained weights as they are")
    export.set_defaults(run=_export)
    return parser


def _refine(options: argparse.Namespace) -> None:
    from rba.inference.command import RefineCommand, run_refine

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_refine(RefineCommand(**given))


def _export(options: argparse.Namespace) -> None:
    from rba.inference.export import export_checkpoint

    export_checkpoint(
        Path(options.checkpoint),
        Path(options.output),
        use_ema=not options.raw,
        dtype=options.dtype,
    )
    print(f"wrote {options.output}")


if __name__ == "__main__":
    raise SystemExit(main())
