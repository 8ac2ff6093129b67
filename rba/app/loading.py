"""What happens when something is dropped, removed or taken from the examples."""

from collections.abc import Sequence
from typing import Any

import gradio as gr
import numpy as np

from rba.app.examples import Example
from rba.app.painting import DEFECT_COLOUR, painted_layer, painted_mask, shown
from rba.app.parts import Parts, Updates, notice, refused
from rba.app.session import Session, Sessions
from rba.app.uploads import Limits, Picture, take_mask, take_picture
from rba.errors import InputError

_THUMBNAIL = 320  # pixels


class Loading:
    """The handlers of loading; each changes the tab's session and says what the page shows.

    Args:
        parts: The page's components.
        sessions: The open tabs.
        limits: What is taken.
        examples: What comes with the package.
    """

    def __init__(
        self, parts: Parts, sessions: Sessions, limits: Limits, examples: Sequence[Example]
    ) -> None:
        self.parts = parts
        self.sessions = sessions
        self.limits = limits
        self.examples = tuple(examples)

    def picture(self, path: str | None, request: gr.Request) -> Updates:
        """Take a dropped picture."""
        session = self.sessions.of(request.session_hash)
        if path is None:
            return {}
        try:
            session.picture = take_picture(path, self.limits)
        except InputError as error:
            return {self.parts.drop_picture: gr.File(value=None)} | refused(self.parts, str(error))
        session.forget_found()
        return self._paint(session) | self._without_match() | self._hint(session, painted=False)

    def another_picture(self, request: gr.Request) -> Updates:
        """Make room for another picture."""
        session = self.sessions.of(request.session_hash)
        session.picture = None
        session.forget_found()
        return (
            {
                self.parts.drop_picture: gr.File(value=None),
                self.parts.drop_column: gr.Column(visible=True),
                self.parts.paint_column: gr.Column(visible=False),
                self.parts.editor: gr.ImageEditor(value=None),
            }
            | self._without_match()
            | self._hint(session, painted=False)
        )

    def cleared(self, request: gr.Request) -> Updates:
        """Show the picture again after the editor was emptied: the painting alone goes."""
        session = self.sessions.of(request.session_hash)
        return (
            {}
            if session.picture is None
            else self._paint(session) | self._hint(session, painted=False)
        )

    def mask_file(self, path: str | None, request: gr.Request) -> Updates:
        """Take a mask file in place of a painting."""
        session = self.sessions.of(request.session_hash)
        if path is None or session.picture is None:
            return {}
        mask = take_mask(path, session.picture.size, self.limits)
        return self._paint(session, mask) | self._hint(session, painted=True)

    def references(self, paths: list[str] | None, request: gr.Request) -> Updates:
        """Take dropped references beside those that are there; bad ones are named."""
        session = self.sessions.of(request.session_hash)
        taken: list[Picture] = []
        mistakes: list[str] = []
        for path in paths or ():
            try:
                taken.append(take_picture(path, self.limits))
            except InputError as error:
                mistakes.append(str(error))
        room = self.limits.references - len(session.references)
        if len(taken) > room:
            mistakes.append(
                f"At most {self.limits.references} references are taken; "
                f"{len(taken) - room} were left out."
            )
        if taken[:room]:
            session.references += tuple(taken[:room])
            session.forget_found()
        updates = {self.parts.drop_references: gr.File(value=None)} | self._references(session)
        if taken[:room]:
            updates |= self._without_match()
        if mistakes:
            return updates | refused(self.parts, " ".join(mistakes))
        return updates | self._hint(session)

    def remove_references(self, request: gr.Request) -> Updates:
        """Remove all references."""
        session = self.sessions.of(request.session_hash)
        session.references = ()
        session.forget_found()
        return self._references(session) | self._without_match() | self._hint(session)

    def example(self, event: gr.SelectData, request: gr.Request) -> Updates:
        """Load an example: picture, mask, reference and the settings that suit it."""
        return self.load_example(int(event.index), request.session_hash)

    def load_example(self, number: int, session_name: str | None) -> Updates:
        """Load an example by its number."""
        session = self.sessions.of(session_name)
        example = self.examples[number]
        session.picture, session.references = example.picture, (example.reference,)
        session.forget_found()
        return (
            self._paint(session, example.mask)
            | self._references(session)
            | self._without_match()
            | {
                self.parts.steps: example.steps,
                self.parts.guidance_scale: example.guidance_scale,
                self.parts.examples: gr.Gallery(selected_index=None),
            }
            | self._hint(session, painted=True)
        )

    def painted(self, value: dict[str, object] | None, request: gr.Request) -> Updates:
        """Say what is next once something is painted."""
        session = self.sessions.of(request.session_hash)
        if session.picture is None:
            return {}
        painted = bool(painted_mask(value, session.picture.size).any())
        if painted == session.painted:  # the editor also speaks up when it has loaded a picture
            return {}
        return self._hint(session, painted=painted)

    def _paint(self, session: Session, mask: np.ndarray | None = None) -> Updates:
        picture = session.picture
        assert picture is not None
        pixels = shown(picture.pixels)
        size = (pixels.shape[0], pixels.shape[1])
        layers = [] if mask is None else [painted_layer(mask, size, DEFECT_COLOUR)]
        note = f"{picture.name} · {picture.size_text}"
        if size != picture.size:
            note += f" · shown at {size[1]} x {size[0]}, refined in full size"
        if picture.reduced:
            note += " · more than 8 bits a channel are read as 8"
        return {
            self.parts.drop_column: gr.Column(visible=False),
            self.parts.paint_column: gr.Column(visible=True),
            self.parts.editor: editor_update(session, pixels, layers),
            self.parts.picture_note: note,
        }

    def _references(self, session: Session) -> Updates:
        several = len(session.references) > 1
        pictures = [
            (str(session.file(shown(item.pixels, _THUMBNAIL))), f"{number}")
            for number, item in enumerate(session.references, 1)
        ]
        captioned = pictures if several else [(path, None) for path, _ in pictures]
        return {
            self.parts.reference_gallery: gr.Gallery(value=captioned, visible=bool(pictures)),
            self.parts.remove_references: gr.Button(visible=bool(pictures)),
        }

    def _without_match(self) -> Updates:
        return {self.parts.match_column: gr.Column(visible=False)}

    def _hint(self, session: Session, *, painted: bool | None = None) -> Updates:
        if painted is not None:
            session.painted = painted
        return {self.parts.status: notice(next_step(session))}


def next_step(session: Session) -> str:
    """Return what the user should do next."""
    if session.picture is None:
        return "Start by dropping the picture with the defect, or take an example."
    if not session.painted:
        return "Paint over the defect with the brush. Paint it wholly; a little more is fine."
    if not session.references:
        return "Drop one or several references: pictures of the same object without the defect."
    return "Ready to refine."


def editor_update(session: Session, pixels: np.ndarray, layers: list[np.ndarray]) -> gr.ImageEditor:
    """Return an editor with a picture and what is painted on it.

    Args:
        session: The browser tab.
        pixels: HxWx3 uint8.
        layers: Of the same size, HxWx4 uint8.
    """
    value: Any = {
        "background": str(session.file(pixels)),
        "layers": [str(session.file(layer)) for layer in layers],
        "composite": None,
    }
    # Without the canvas' size the browser lays a given layer where a picture of another size lay.
    return gr.ImageEditor(value=value, canvas_size=(pixels.shape[1], pixels.shape[0]))
