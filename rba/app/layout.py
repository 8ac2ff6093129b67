"""The layout of the page: what lies where, without what it does."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from rba.app.matching import AUTOMATIC
from rba.app.painting import DEFECT_COLOUR, OPACITY, REGION_COLOUR
from rba.app.parts import Parts, notice
from rba.app.refining import Options
from rba.app.uploads import KINDS, Limits
from rba.app.working import NEAR, WHOLE

_SUFFIXES = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"]
_START = "Start by dropping the picture with the defect, or take an example."


def lay_out(
    model: str, options: Options, limits: Limits, cards: Sequence[tuple[Path, str]]
) -> Parts:
    """Lay the page out inside the `gr.Blocks` that is open.

    Args:
        model: What the page calls the model.
        options: The settings at the start.
        limits: What the page says about files.
        cards: Picture and title of each example.
    """
    gr.HTML(
        "<h1>Refine-by-Align</h1><p>Mend a defect of a generated picture after a photo of the same "
        "object. Pictures stay on the machine that runs this page. "
        f"Model: {html.escape(model)}</p>",
        elem_id="title",
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            parts = _picture(limits) | _references(limits) | _settings(options)
        with gr.Column(min_width=320):
            parts |= _buttons() | _result() | _match()
    parts["examples"] = _pictures(
        "Examples: choose one to load it",
        "examples",
        columns=3,
        value=[(str(path), title) for path, title in cards],
        visible=bool(cards),
    )
    return Parts(**parts)


def _pictures(label: str, name: str, **options: Any) -> gr.Gallery:
    """Make a row of small pictures, each a button."""
    usual: dict[str, Any] = {
        "columns": 4,
        "height": "auto",
        "object_fit": "contain",
        "allow_preview": False,
        "fit_columns": False,
        "interactive": False,
        "buttons": [],
    }
    return gr.Gallery(label=label, elem_id=name, elem_classes="pictures", **(usual | options))


def heading(text: str, explanation: str) -> None:
    """Head a part of the page."""
    gr.HTML(f"<h2>{text}</h2><p>{explanation}</p>", elem_classes="part")


def _picture(limits: Limits) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    heading("1. Picture with the defect", f"Drop it ({KINDS}), then paint over the defect.")
    with gr.Column() as parts["drop_column"]:
        parts["drop_picture"] = gr.File(
            label=f"Picture (at most {limits.file_megabytes} MB)",
            file_types=_SUFFIXES,
            height=150,
            elem_id="drop-picture",
        )
    with gr.Column(visible=False) as parts["paint_column"]:
        parts["editor"] = painting_editor("Paint over the defect", DEFECT_COLOUR, "paint-defect")
        parts["picture_note"] = gr.Markdown(elem_classes="note")
        with gr.Row():
            parts["another_picture"] = gr.Button("Another picture", size="sm", min_width=120)
            parts["mask_file"] = gr.UploadButton(
                "Mask from a file", file_types=_SUFFIXES, size="sm", min_width=120
            )
    return parts


def painting_editor(label: str, colour: tuple[int, int, int], name: str) -> gr.ImageEditor:
    """Make an editor in which one colour can be painted and erased."""
    paint = (f"#{colour[0]:02x}{colour[1]:02x}{colour[2]:02x}", OPACITY)
    return gr.ImageEditor(
        label=label,
        brush=gr.Brush(colors=[paint], default_color=paint, color_mode="fixed"),
        eraser=gr.Eraser(),
        layers=False,
        transforms=(),
        sources=(),
        image_mode="RGBA",
        format="png",
        buttons=["fullscreen"],
        height=420,
        elem_id=name,
        elem_classes="painting",
    )


def _references(limits: Limits) -> dict[str, Any]:
    heading("2. References", "One or several pictures of the same object, without the defect.")
    return {
        "drop_references": gr.File(
            label=f"References (at most {limits.references})",
            file_count="multiple",
            file_types=_SUFFIXES,
            height=150,
            elem_id="drop-references",
        ),
        "reference_gallery": _pictures("Loaded references", "references", visible=False),
        "remove_references": gr.Button("Remove the references", size="sm", visible=False),
    }


def _settings(options: Options) -> dict[str, Any]:
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        return {
            "steps": gr.Slider(
                1, 200, options.steps, step=1, label="Steps", info="More are slower and finer."
            ),
            "guidance_scale": gr.Slider(
                1.0,
                15.0,
                options.guidance_scale,
                step=0.1,
                label="Guidance",
                info="How closely the reference is followed; 1 = not beyond what was learned.",
            ),
            "seed": gr.Number(
                options.seed,
                precision=0,
                minimum=0,
                label="Seed",
                info="Another number gives another result.",
            ),
            "zoom_in": gr.Checkbox(options.zoom_in, label="Zoom in on the defect"),
            "crop_factor": gr.Slider(
                1.1,
                8.0,
                options.crop_factor,
                step=0.1,
                label="Surroundings",
                info="Side of the part that is looked at, in sides of the defect.",
            ),
            "max_magnification": gr.Slider(
                1.0,
                8.0,
                options.max_magnification,
                step=0.5,
                label="Largest magnification",
                info="A small defect is enlarged at most this much.",
            ),
            "num_noises": gr.Slider(
                1,
                16,
                options.num_noises,
                step=1,
                label="Looks at the reference",
                info="The region is the mean of this many; more are slower and surer.",
            ),
            "separate": gr.Checkbox(
                options.separate,
                label="Mend parts that lie apart one by one",
                info="Each gets its own surroundings and the reference that suits it.",
            ),
        }


def _buttons() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    heading("3. Refine", "Refine does everything; Find the region only shows what would be copied.")
    with gr.Row():
        parts["find"] = gr.Button("Find the region", min_width=130, elem_id="find")
        parts["refine"] = gr.Button("Refine", variant="primary", min_width=130, elem_id="refine")
        parts["stop"] = gr.Button("Stop", variant="stop", min_width=90, visible=False)
    parts["status"] = gr.HTML(notice(_START), elem_id="status", min_height=72)
    return parts


def _result() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    parts["result"] = gr.ImageSlider(
        label="Before and after: drag the handle",
        interactive=False,
        type="filepath",
        max_height=520,
        buttons=["fullscreen"],
        elem_id="result",
    )
    parts["view"] = gr.Radio([WHOLE, NEAR], value=WHOLE, show_label=False, visible=False)
    with gr.Row():
        parts["download_picture"] = gr.DownloadButton(
            "Download the picture", size="md", min_width=150, visible=False
        )
        parts["download_archive"] = gr.DownloadButton(
            "Download everything (zip)", size="md", min_width=150, visible=False
        )
    parts["history"] = _pictures("Results, newest first", "history", visible=False)
    return parts


def _match() -> dict[str, Any]:
    parts: dict[str, Any] = {}
    with gr.Column(visible=False) as parts["match_column"]:
        heading(
            "Where the reference matches",
            "Red: most attention. White outline: the region that guides the refinement.",
        )
        parts["defects"] = _pictures(
            "Defects: choose one to see its match", "defects", columns=3, visible=False
        )
        parts["maps"] = _pictures(
            "Maps", "maps", columns=2, allow_preview=True, buttons=["fullscreen"]
        )
        parts["chosen"] = gr.Radio([AUTOMATIC], value=AUTOMATIC, label="Use", visible=False)
        parts["region"] = painting_editor("Correct the region", REGION_COLOUR, "paint-region")
        parts["region_note"] = gr.Markdown(elem_classes="note")
    return parts
