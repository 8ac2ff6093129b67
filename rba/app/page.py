"""The page: its layout, and what calls what."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from rba.app.annotating import add_annotation
from rba.app.examples import Example
from rba.app.layout import lay_out
from rba.app.loading import Loading
from rba.app.matching import Matching
from rba.app.parts import Parts, Updates, notice, refused
from rba.app.refining import Options, Refiner, StoppedError
from rba.app.session import Sessions
from rba.app.uploads import Limits
from rba.app.working import Working
from rba.errors import InputError
from rba.pictures import write_png

_DEVICE = "device"  # find and refine compute one after the other
_SWEEP_SECONDS, _KEPT_SECONDS = 600, 12 * 3600  # of files whose tab did not say that it closed


def build_page(
    refiner: Refiner,
    folder: Path,
    *,
    options: Options,
    limits: Limits,
    examples: Sequence[Example] = (),
    annotate: Path | None = None,
) -> gr.Blocks:
    """Build the page.

    Args:
        refiner: The model.
        folder: For the tabs' files; gradio's own cache, so that it serves them where they lie.
        options: The settings at the start.
        limits: What is taken.
        examples: What comes with the package.
        annotate: Benchmark that what is painted can be kept in; None = the page keeps nothing.

    Returns:
        The page with its queue, ready to be launched.
    """
    sessions = Sessions(folder)
    cards: list[tuple[Path, str]] = []
    for number, example in enumerate(examples):
        path = folder / f"example-{number}.png"
        write_png(path, example.card())
        cards.append((path, example.title))
    with gr.Blocks(
        title="Refine-by-Align",
        analytics_enabled=False,
        delete_cache=(_SWEEP_SECONDS, _KEPT_SECONDS),
    ) as page:
        parts = lay_out(refiner.name, options, limits, cards)
        matching = Matching(parts, sessions)
        _wire_loading(parts, Loading(parts, sessions, limits, examples))
        _wire_work(parts, Working(parts, sessions, limits, refiner, matching), matching)
        if annotate is not None:
            add_annotation(parts, sessions, annotate, functools.partial(plainly, parts=parts))

        def closed(request: gr.Request) -> None:
            sessions.close(request.session_hash)

        page.unload(closed)
    page.queue(max_size=limits.queue, default_concurrency_limit=4, api_open=False)
    return page


def plainly(handler: Callable[..., Updates], parts: Parts) -> Callable[..., Updates]:
    """Return a handler that says a user's mistake in the status line and changes nothing else.

    What changes nothing at all is skipped: gradio would show an empty dictionary as a value.
    """

    @functools.wraps(handler)
    def safe(*arguments: Any, **named: Any) -> Updates:
        try:
            return handler(*arguments, **named) or gr.skip()
        except StoppedError as stopped:
            return {parts.status: notice(str(stopped))}
        except InputError as mistake:
            return refused(parts, str(mistake))

    return safe


def _wire_loading(parts: Parts, loading: Loading) -> None:
    painting = [
        parts.drop_picture,
        parts.drop_column,
        parts.paint_column,
        parts.editor,
        parts.picture_note,
        parts.match_column,
        parts.status,
    ]
    references = [
        parts.drop_references,
        parts.reference_gallery,
        parts.remove_references,
        parts.match_column,
        parts.status,
    ]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def safe(handler: Callable[..., Updates]) -> Callable[..., Updates]:
        return plainly(handler, parts)

    parts.drop_picture.upload(safe(loading.picture), parts.drop_picture, painting, **quiet)
    parts.another_picture.click(safe(loading.another_picture), None, painting, **quiet)
    parts.editor.clear(safe(loading.cleared), None, painting, **quiet)
    parts.editor.input(safe(loading.painted), parts.editor, parts.status, **quiet)
    parts.mask_file.upload(safe(loading.mask_file), parts.mask_file, painting, **quiet)
    parts.drop_references.upload(
        safe(loading.references), parts.drop_references, references, **quiet
    )
    parts.remove_references.click(safe(loading.remove_references), None, references, **quiet)
    loaded = [*painting, *references[1:3], parts.steps, parts.guidance_scale, parts.examples]
    parts.examples.select(safe(loading.example), None, loaded, **quiet)


def _wire_work(parts: Parts, working: Working, matching: Matching) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    computing: dict[str, Any] = {
        "show_progress_on": parts.status,
        "api_visibility": "private",
        "concurrency_id": _DEVICE,
        "concurrency_limit": 1,
    }
    buttons = [parts.find, parts.refine, parts.stop]
    match = [
        parts.match_column,
        parts.defects,
        parts.maps,
        parts.chosen,
        parts.region,
        parts.region_note,
    ]
    result = [parts.result, parts.view, parts.download_picture, parts.download_archive]
    values = {parts.editor, parts.region, parts.view, *parts.settings()}
    for button, handler, outputs in (
        (parts.find, working.find, [*match, parts.status]),
        (parts.refine, working.refine, [*match, *result, parts.history, parts.status]),
    ):
        started = button.click(working.busy, None, buttons, queue=False, **quiet)
        done = started.then(plainly(handler, parts), values, outputs, **computing)
        done.then(working.idle, None, buttons, queue=False, **quiet)
    parts.stop.click(working.stop, None, parts.stop, queue=False, **quiet)
    parts.view.input(plainly(working.view, parts), parts.view, result, **quiet)
    parts.history.select(plainly(working.look_back, parts), parts.view, result, **quiet)
    parts.chosen.input(
        plainly(matching.choose, parts), {parts.chosen, parts.region}, match, **quiet
    )
    parts.defects.select(plainly(matching.look_at, parts), parts.region, match, **quiet)
