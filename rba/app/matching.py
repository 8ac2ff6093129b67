"""The regions on the references: shown a defect at a time, chosen among them, corrected by hand."""

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
from rba.geometry import crop, resize, resize_mask
from rba.inference.frames import cut_reference
from rba.inference.images import DefectMatch
from rba.inference.panel import correspondence_overlay, outlined
from rba.inference.request import Alignment

AUTOMATIC = "Best match"
_MAP_SIDE = 640  # pixels, a map over its reference
_CARD_SIDE = 256  # pixels, a defect's card at least


class Matching:
    """What the page shows of the alignment.

    Args:
        parts: The page's components.
        sessions: The open tabs.
    """

    def __init__(self, parts: Parts, sessions: Sessions) -> None:
        self.parts = parts
        self.sessions = sessions

    def choose(self, values: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Use another reference for the defect that is looked at."""
        session = self.sessions.of(request.session_hash)
        if session.found is None:
            return {}
        self.note_correction(session, values[self.parts.region])
        choice: str = values[self.parts.chosen]
        if choice == AUTOMATIC:
            session.chosen.pop(session.defect, None)
        else:
            session.chosen[session.defect] = int(choice.split()[-1]) - 1
        return self.show(session)

    def look_at(
        self, value: Mapping[str, Any] | None, event: gr.SelectData, request: gr.Request
    ) -> Updates:
        """Show the match of another defect."""
        session = self.sessions.of(request.session_hash)
        number = int(event.index)
        if session.found is None or number == session.defect:
            return {}
        self.note_correction(session, value)
        session.defect = min(number, len(session.found.matches) - 1)
        return self.show(session)

    def show(self, session: Session) -> Updates:
        """Show the defects, the maps of one over all references, and the region that is used."""
        found, picture = session.found, session.picture
        assert found is not None
        assert picture is not None
        several = len(found.matches) > 1
        cards = [
            (
                str(session.file(defect_card(picture, match))),
                f"{number + 1} · {self._by(session, number).split(' (')[0]}",
            )
            for number, match in enumerate(found.matches)
        ]
        shown = found.matches[session.defect].choice.alignments
        used = self.used(session, session.defect)
        maps = [
            (
                str(session.file(reference_overlay(picture, alignment))),
                self._caption(alignment, number, used=len(shown) > 1 and number == used),
            )
            for number, (picture, alignment) in enumerate(
                zip(session.references, shown, strict=True)
            )
        ]
        choices = [AUTOMATIC, *(f"Reference {number}" for number in range(1, len(maps) + 1))]
        wanted = session.chosen.get(session.defect)
        return {
            self.parts.match_column: gr.Column(visible=True),
            self.parts.defects: gr.Gallery(
                value=cards, visible=several, selected_index=session.defect if several else None
            ),
            self.parts.maps: gr.Gallery(value=maps, label=f"Maps{self._of_defect(session)}"),
            self.parts.chosen: gr.Radio(
                choices=choices,
                value=AUTOMATIC if wanted is None else choices[wanted + 1],
                label=f"Use{self._of_defect(session)}",
                visible=len(maps) > 1,
            ),
        } | self._show_region(session)

    def used(self, session: Session, defect: int) -> int:
        """Return the number of the reference that guides a defect, from 0."""
        assert session.found is not None
        return session.chosen.get(defect, session.found.matches[defect].choice.index)

    def correction(self, session: Session, defect: int) -> np.ndarray | None:
        """Return the region that the user painted for a defect on the reference it uses."""
        return session.corrected.get((defect, self.used(session, defect)))

    def used_sentence(self, session: Session) -> str:
        """Say what guides each defect, and how sure the match is."""
        assert session.found is not None
        count = len(session.found.matches)
        if count == 1:
            return self._sentence(session, 0)
        parts = [f"{number + 1}: {self._by(session, number)}" for number in range(count)]
        return f"{count} defects, the largest first. Defect {'; '.join(parts)}."

    def note_correction(self, session: Session, value: Mapping[str, Any] | None) -> None:
        """Keep the region where the user has changed it; an erased one is found again."""
        given, on = session.region_shown, session.region_on
        if given is None or on is None:
            return
        painted = painted_mask(value, (given.shape[0], given.shape[1]))
        if not painted.any():
            session.corrected.pop(on, None)
        elif not same_painting(painted, given):
            session.corrected[on] = scaled_mask(painted, *session.references[on[1]].size)

    def _show_region(self, session: Session) -> Updates:
        found = session.found
        assert found is not None
        defect, index = session.defect, self.used(session, session.defect)
        region = self.correction(session, defect)
        if region is None:
            region = found.matches[defect].choice.alignments[index].region
        assert region is not None
        pixels = shown(session.references[index].pixels)
        size = (pixels.shape[0], pixels.shape[1])
        layer = painted_layer(region, size, REGION_COLOUR)
        session.region_on, session.region_shown = (defect, index), layer[..., 3] > 0
        note = f"Reference {index + 1}: " if len(session.references) > 1 else ""
        return {
            self.parts.region: editor_update(session, pixels, [layer]),
            self.parts.region_note: f"{note}{session.references[index].name}",
        }

    def _of_defect(self, session: Session) -> str:
        assert session.found is not None
        return f" for defect {session.defect + 1}" if len(session.found.matches) > 1 else ""

    def _sentence(self, session: Session, defect: int) -> str:
        """Say what guides a picture's only defect."""
        assert session.found is not None
        index, only = self.used(session, defect), len(session.references) == 1
        alignment = session.found.matches[defect].choice.alignments[index]
        which = "The reference" if only else f"Reference {index + 1}"
        if self.correction(session, defect) is not None:
            return f"The region that you painted on {which[0].lower()}{which[1:]} is used."
        if alignment.fallback:
            return f"{which}: no region stood out, so the whole object guides the refinement."
        chosen = defect in session.chosen or only
        why = "" if chosen else ", which shows best what surrounds the defect"
        return f"{which} is used{why}: {_percent(alignment)} of the attention lies in the region."

    def _by(self, session: Session, defect: int) -> str:
        """Say in a few words what guides a defect."""
        assert session.found is not None
        index = self.used(session, defect)
        alignment = session.found.matches[defect].choice.alignments[index]
        if self.correction(session, defect) is not None:
            how = "your region"
        else:
            how = "whole object" if alignment.fallback else _percent(alignment)
        return how if len(session.references) == 1 else f"reference {index + 1} ({how})"

    def _caption(self, alignment: Alignment, number: int, *, used: bool) -> str:
        sure = "nothing stood out" if alignment.fallback else f"{_percent(alignment)} in the region"
        return f"Reference {number + 1} · {sure}{' · used' if used else ''}"


def defect_card(picture: Picture, match: DefectMatch) -> np.ndarray:
    """Return a defect in its surroundings, outlined: HxWx3 uint8."""
    box = match.choice.alignment.crop.box
    side = min(max(box.width, _CARD_SIDE), _MAP_SIDE)
    pixels = resize(crop(picture.pixels, box), side, side)
    return outlined(pixels, resize_mask(crop(match.mask, box, fill=0), side, side))


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
