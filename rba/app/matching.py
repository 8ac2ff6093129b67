"""The region on the references: shown over them, chosen among them, corrected by hand."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
import numpy as np

from rba.app.loading import editor_update
from rba.app.painting import (
    REGION_COLOUR,
    painted_layer,
    painted_mask,
    same_painting,
    scaled_mask,
    shown,
)
from rba.app.parts import Parts, Updates
from rba.app.session import Session, Sessions
from rba.app.uploads import Picture
from rba.geometry import crop, resize_mask
from rba.inference.frames import cut_reference
from rba.inference.panel import correspondence_overlay
from rba.inference.request import Alignment

AUTOMATIC = "Best match"
_MAP_SIDE = 640  # pixels, a map over its reference


class Matching:
    """What the page shows of the alignment.

    Args:
        parts: The page's components.
        sessions: The open tabs.
    """

    def __init__(self, parts: Parts, sessions: Sessions) -> None:
        self.parts = parts
        self.sessions = sessions

    def choose(self, choice: str, request: gr.Request) -> Updates:
        """Use another reference."""
        session = self.sessions.of(request.session_hash)
        if session.found is None:
            return {}
        session.chosen = None if choice == AUTOMATIC else int(choice.split()[-1]) - 1
        return self._show_region(session)

    def show(self, session: Session) -> Updates:
        """Show the maps over all references, and the region on the one that is used."""
        found = session.found
        assert found is not None
        several = len(found.alignments) > 1
        maps = [
            (str(session.file(reference_overlay(picture, alignment))), self._caption(alignment, k))
            for k, (picture, alignment) in enumerate(
                zip(session.references, found.alignments, strict=True), 1
            )
        ]
        choices = [AUTOMATIC, *(f"Reference {number}" for number in range(1, len(maps) + 1))]
        chosen = AUTOMATIC if session.chosen is None else choices[session.chosen + 1]
        return {
            self.parts.match_column: gr.Column(visible=True),
            self.parts.maps: gr.Gallery(value=maps),
            self.parts.chosen: gr.Radio(choices=choices, value=chosen, visible=several),
        } | self._show_region(session)

    def used(self, session: Session) -> int:
        """Return the number of the reference that is used, from 0."""
        if session.chosen is not None:
            return session.chosen
        return 0 if session.found is None else session.found.choice.index

    def used_sentence(self, session: Session) -> str:
        """Say which reference is used and how sure the match is."""
        assert session.found is not None
        index = self.used(session)
        alignment = session.found.alignments[index]
        which = "The reference" if len(session.references) == 1 else f"Reference {index + 1}"
        if alignment.fallback:
            return f"{which}: no region stood out, so the whole object guides the refinement."
        chosen = session.chosen is not None or len(session.references) == 1
        why = "" if chosen else ", which shows best what surrounds the defect"
        return f"{which} is used{why}: {_percent(alignment)} of the attention lies in the region."

    def painted_region(
        self, session: Session, value: Mapping[str, Any] | None
    ) -> np.ndarray | None:
        """Return the region where the user has changed it, in the reference's size; else None."""
        given = session.region_shown
        if given is None or session.region_on is None:
            return None
        painted = painted_mask(value, (given.shape[0], given.shape[1]))
        if not painted.any() or same_painting(painted, given):
            return None
        return scaled_mask(painted, *session.references[session.region_on].size)

    def _show_region(self, session: Session) -> Updates:
        found = session.found
        assert found is not None
        index = self.used(session)
        region = found.alignments[index].region
        assert region is not None
        pixels = shown(session.references[index].pixels)
        size = (pixels.shape[0], pixels.shape[1])
        layer = painted_layer(region, size, REGION_COLOUR)
        session.region_on, session.region_shown = index, layer[..., 3] > 0
        note = f"Reference {index + 1}: " if len(session.references) > 1 else ""
        return {
            self.parts.region: editor_update(session, pixels, [layer]),
            self.parts.region_note: f"{note}{session.references[index].name}",
        }

    def _caption(self, alignment: Alignment, number: int) -> str:
        sure = "nothing stood out" if alignment.fallback else f"{_percent(alignment)} in the region"
        return f"Reference {number} · {sure}"


def reference_overlay(picture: Picture, alignment: Alignment) -> np.ndarray:
    """Return a correspondence map over its reference, the region outlined: HxWx3 uint8."""
    box = alignment.reference.box
    square = cut_reference(picture.pixels, picture.object_mask, box, _MAP_SIDE)
    region = alignment.region
    assert region is not None
    inside = resize_mask(crop(region, box, fill=0), _MAP_SIDE, _MAP_SIDE)
    overlay = correspondence_overlay(square, alignment.correspondence_map, inside)
    height, width = picture.size  # the bars that square the picture are not shown
    scale = _MAP_SIDE / box.width
    x0, y0 = (round(max(-start, 0) * scale) for start in (box.x0, box.y0))
    x1 = _MAP_SIDE - round(max(box.x1 - width, 0) * scale)
    y1 = _MAP_SIDE - round(max(box.y1 - height, 0) * scale)
    return overlay[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _percent(alignment: Alignment) -> str:
    return f"{100 * alignment.confidence:.0f} %"
