"""The page's components by name: the layout makes them, the handlers fill them."""

import dataclasses
import html
from typing import Any

import gradio as gr

Updates = dict[Any, Any]
"""What a handler changes: component -> its new value or properties."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """Components; those that only lie in the layout are left out."""

    drop_picture: gr.File
    drop_column: gr.Column
    paint_column: gr.Column
    editor: gr.ImageEditor
    picture_note: gr.Markdown
    another_picture: gr.Button
    mask_file: gr.UploadButton
    drop_references: gr.File
    reference_gallery: gr.Gallery
    remove_references: gr.Button
    steps: gr.Slider
    guidance_scale: gr.Slider
    seed: gr.Number
    zoom_in: gr.Checkbox
    crop_factor: gr.Slider
    max_magnification: gr.Slider
    num_noises: gr.Slider
    separate: gr.Checkbox
    find: gr.Button
    refine: gr.Button
    stop: gr.Button
    status: gr.HTML
    result: gr.ImageSlider
    view: gr.Radio
    download_picture: gr.DownloadButton
    download_archive: gr.DownloadButton
    match_column: gr.Column
    defects: gr.Gallery
    maps: gr.Gallery
    chosen: gr.Radio
    region_note: gr.Markdown
    region: gr.ImageEditor
    history: gr.Gallery
    examples: gr.Gallery

    def settings(self) -> list[Any]:
        """Return the settings' components, in the order of `Options`."""
        return [
            self.steps,
            self.guidance_scale,
            self.seed,
            self.zoom_in,
            self.crop_factor,
            self.max_magnification,
            self.num_noises,
            self.separate,
        ]


def notice(text: str, kind: str = "hint") -> str:
    """Return a line for the status: ``hint``, ``good`` or ``bad``; read aloud by screen readers."""
    role = "alert" if kind == "bad" else "status"
    return f'<div class="notice {kind}" role="{role}">{html.escape(text)}</div>'


def refused(parts: Parts, text: str) -> Updates:
    """Say a user's mistake in the status line, and in front of the page wherever it is scrolled."""
    gr.Warning(html.escape(text), duration=8)
    return {parts.status: notice(text, "bad")}
