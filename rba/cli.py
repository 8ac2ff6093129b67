"""The ``rba`` command. Each subcommand imports what it needs only when it is called."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rba.errors import InputError, command_message, exit_status
from rba.evaluation.bench_command import add_bench
from rba.evaluation.compare_options import add_compare
from rba.evaluation.study_command import add_study
from rba.host_memory import keep_freed_memory
from rba.workflow.bench_options import add_bench_render, add_robustness

_EVALUATE_ONLY_WITH = {
    "bench": (
        *("methods", "results", "also_model", "calibration_split"),
        *("dino", "clip", "lpips", "paint_by_example"),
    ),
    "objects": ("count", "calibration_count", "refine", "write_calibration"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, run, and print a mistake (status 2) or a fault (3) as one line."""
    parser = _parser()
    options = parser.parse_args(arguments)
    keep_freed_memory()
    try:
        options.run(options)
    except Exception as error:
        message = command_message(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return exit_status(error)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rba", description="Refine-by-Align")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for add in (
        _add_refine,
        _add_evaluate,
        _add_calibrate,
        _add_bench,
        add_study,
        add_robustness,
        _add_export,
    ):
        add(commands)
    _add_app(commands)
    return parser


def _add_refine(commands: Any) -> None:
    refine = commands.add_parser("refine", help="mend an artifact of an image after a reference")
    refine.add_argument(
        "--model", required=True, help="model directory, made by `rba export`, or a shipped name"
    )
    refine.add_argument("--image", help="generated image with a defect")
    refine.add_argument("--mask", help="mask of the defect, of the image's size")
    refine.add_argument("--reference", nargs="+", help="picture of the same object, or several")
    refine.add_argument(
        "--reference-mask", nargs="+", help="object mask of the reference, or of each"
    )
    refine.add_argument(
        "--jobs", metavar="LIST", help="instead: many images, FILE.jsonl, FILE.csv or a folder"
    )
    refine.add_argument(
        "--output", required=True, help="refined image, PNG keeps every pixel; with --jobs a folder"
    )
    refine.add_argument("--save-intermediates", metavar="DIR", help="map, masks, crops, a panel")
    refine.add_argument("--steps", type=int, default=50, help="sampler steps (default 50)")
    refine.add_argument("--guidance-scale", type=float, default=5.0, help="default 5")
    refine.add_argument("--seed", type=int, default=0)
    refine.add_argument("--batch-size", type=int, help="images of --jobs at a time (default 4)")
    refine.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, mps; with --jobs cuda:0,cuda:1"
    )
    refine.set_defaults(run=_refine)


def _add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure a model beside other methods")
    add_compare(evaluate)
    # Required, but not by `rba evaluate compare`: `_evaluate` asks for them.
    evaluate.add_argument(
        "--model", help="model directory, made by `rba export`, or a shipped name"
    )
    source = evaluate.add_mutually_exclusive_group()
    source.add_argument("--bench", metavar="DIR", help="folder of cases, see docs/evaluation.md")
    source.add_argument("--objects", metavar="DIR", help="folder made by render_objects.py")
    evaluate.add_argument("--output", help="folder for figures, table and pictures")
    evaluate.add_argument("--calibrate-on", metavar="DIR", help="other cases to find (t, l) on")
    bench = evaluate.add_argument_group("with --bench")
    bench.add_argument("--methods", metavar="A,B", help="rows of the table (default: all)")
    bench.add_argument(
        "--results",
        metavar="NAME=DIR",
        action="append",
        help="a row: another tool's CASE_ID.png files; may be given again",
    )
    bench.add_argument(
        "--also-model",
        metavar="NAME=DIR",
        action="append",
        help="a row: the whole method with another model; may be given again",
    )
    bench.add_argument(
        "--calibration-split", metavar="half", help="find (t, l) on one half, report on the other"
    )
    bench.add_argument("--dino", metavar="DIR", help="local DINO or DINOv2, for its similarity")
    bench.add_argument("--clip", metavar="DIR", help="local CLIP, for its similarity")
    bench.add_argument(
        "--paint-by-example", metavar="DIR", help="local diffusers folder, for that baseline"
    )
    bench.add_argument("--lpips", metavar="DIR", help="torch.hub's folder with AlexNet, for LPIPS")
    objects = evaluate.add_argument_group("with --objects")
    objects.add_argument("--count", type=int, help="cases (default: one for each object)")
    objects.add_argument("--calibration-count", type=int, help="cases to calibrate on (same)")
    objects.add_argument("--refine", type=int, help="cases that are refined (default: all)")
    objects.add_argument(
        "--write-calibration", action="store_true", default=None, help="into the model"
    )
    evaluate.add_argument("--steps", type=int, default=20, help="sampler steps (default 20)")
    evaluate.add_argument("--guidance-scale", type=float, default=5.0, help="default 5")
    evaluate.add_argument("--max-magnification", type=float, default=4.0, help="default 4")
    evaluate.add_argument("--calibration-steps", metavar="0,5,...", help="sampler steps to try")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--batch-size", type=int, default=8, help="default 8")
    evaluate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    evaluate.set_defaults(run=_evaluate)


def _add_calibrate(commands: Any) -> None:
    calibrate = commands.add_parser(
        "calibrate", help="find the sampler step and layer that align best, and store them"
    )
    calibrate.add_argument(
        "--model", required=True, help="model directory; (t, l) are stored in it"
    )
    calibrate.add_argument(
        "--data", required=True, help="cases with correspondence masks, or rendered objects"
    )
    calibrate.add_argument("--output", metavar="DIR", help="default: MODEL/calibration")
    calibrate.add_argument("--count", type=int, help="cases (default: all)")
    calibrate.add_argument("--steps", metavar="0,5,...", help="sampler steps to try (default all)")
    calibrate.add_argument("--dry-run", action="store_true", help="leave the model as it is")
    calibrate.add_argument("--seed", type=int, default=0)
    calibrate.add_argument("--batch-size", type=int, default=8, help="default 8")
    calibrate.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    calibrate.set_defaults(run=_calibrate)


def _add_bench(commands: Any) -> None:
    add_bench_render(add_bench(commands))


def _add_export(commands: Any) -> None:
    export = commands.add_parser("export", help="write a training checkpoint as a model directory")
    export.add_argument("--checkpoint", required=True, help="runs/NAME/checkpoints/step_*.ckpt")
    export.add_argument("--output", required=True, help="new folder")
    export.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="precision of the written weights (default float32); opening gives float32",
    )
    export.add_argument(
        "--base", help="where the weights lie now that a run with train_parts began with"
    )
    export.add_argument(
        "--adapter", action="store_true", help="only the LoRA, as pytorch_lora_weights.safetensors"
    )
    export.add_argument("--figures", metavar="JSON", help="metrics.json for the model card")
    kind = export.add_mutually_exclusive_group()
    kind.add_argument("--ema", action="store_true", help="averaged weights (default)")
    kind.add_argument("--raw", action="store_true", help="the trained weights as they are")
    export.set_defaults(run=_export)


def _add_app(commands: Any) -> None:
    app = commands.add_parser("app", help="a web page on this machine: paint, refine, compare")
    app.add_argument(
        "--model", required=True, help="model directory, made by `rba export`, or a shipped name"
    )
    app.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1: only here)")
    app.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    app.add_argument(
        "--password-file",
        metavar="FILE",
        help="holds USER:PASSWORD (or set RBA_APP_PASSWORD; default: no password)",
    )
    app.add_argument("--steps", type=int, default=50, help="sampler steps at first (default 50)")
    app.add_argument("--guidance-scale", type=float, default=5.0, help="at first (default 5)")
    app.add_argument("--max-file-mb", type=int, default=50, help="largest file (default 50 MB)")
    app.add_argument("--max-megapixels", type=int, default=50, help="largest picture (default 50)")
    app.add_argument("--queue-size", type=int, default=8, help="most that wait (default 8)")
    app.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    app.add_argument("--annotate", metavar="DIR", help="keep what is painted there, as cases")
    app.set_defaults(run=_app)


def _refine(options: argparse.Namespace) -> None:
    given = {key: value for key, value in vars(options).items() if key != "run"}
    single = ("image", "mask", "reference")
    if options.jobs is None:
        from rba.inference.command import RefineCommand, run_refine

        missing = [name for name in single if given[name] is None]
        if missing:
            raise InputError(f"--{missing[0]} is missing; give it, or a list of images with --jobs")
        if given.pop("batch_size") is not None:
            raise InputError("--batch-size is for --jobs; one image is one batch")
        del given["jobs"]
        run_refine(RefineCommand(**given))
        return
    from rba.inference.jobs_command import JobsCommand, run_jobs_command

    for name in (*single, "reference_mask"):
        if given.pop(name) is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option} and --jobs contradict each other; the list has it")
    run_jobs_command(
        JobsCommand(**{key: value for key, value in given.items() if value is not None})
    )


def _evaluate(options: argparse.Namespace) -> None:
    given = {key: value for key, value in vars(options).items() if value is not None}
    del given["run"]
    missing = [f"--{name}" for name in ("model", "output") if name not in given]
    missing += [] if {"bench", "objects"} & set(given) else ["--bench or --objects"]
    if missing:
        raise InputError(f"rba evaluate needs {', '.join(missing)}; rba evaluate --help tells more")
    kind, other = ("bench", "objects") if options.bench else ("objects", "bench")
    for name in _EVALUATE_ONLY_WITH[other]:
        if given.pop(name, None) is not None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is for --{other}, not for --{kind}; leave it out")
    if kind == "bench":
        from rba.evaluation.evaluate_bench import EvaluateBenchCommand, run_evaluate_bench

        run_evaluate_bench(EvaluateBenchCommand(**given))
        return
    from rba.evaluation.command import EvaluateCommand, run_evaluate

    run_evaluate(EvaluateCommand(**given))


def _calibrate(options: argparse.Namespace) -> None:
    from rba.evaluation.calibrate_command import CalibrateCommand, run_calibrate

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_calibrate(CalibrateCommand(**given))


def _app(options: argparse.Namespace) -> None:
    from rba.app.command import AppCommand, run_app

    given = {key: value for key, value in vars(options).items() if key != "run"}
    run_app(AppCommand(**given))


def _export(options: argparse.Namespace) -> None:
    from rba.evaluation.card_figures import read_figures
    from rba.inference.export import export_adapter, export_checkpoint

    checkpoint, output = Path(options.checkpoint), Path(options.output)
    if options.adapter:
        export_adapter(checkpoint, output, use_ema=not options.raw)
    else:
        export_checkpoint(
            checkpoint,
            output,
            use_ema=not options.raw,
            dtype=options.dtype,
            base=options.base,
            figures=read_figures(Path(options.figures)) if options.figures else (),
        )
    print(f"wrote {options.output}")


if __name__ == "__main__":
    raise SystemExit(main())
