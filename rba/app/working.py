"""What happens when the region is looked for, the picture refined, or a result looked at."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import gradio as gr
import numpy as np

from rba.app.keeping import keep_result
from rba.app.matching import Matching
from rba.app.painting import painted_mask
from rba.app.parts import Parts, Updates, notice
from rba.app.refining import Options, Refiner
from rba.app.session import Found, Kept, Session, Sessions
from rba.app.uploads import Limits
from rba.case import Case
from rba.errors import InputError
from rba.inference.images import DefectMatch

WHOLE, NEAR = "Whole picture", "Around the defect"

Values = Mapping[Any, Any]
"""What the page holds: component -> value."""


class Working:
    """The handlers of the work itself.

    Args:
        parts: The page's components.
        sessions: The open tabs.
        limits: How many results are kept.
        refiner: The model.
        matching: Shows regions.
    """

    def __init__(
        self,
        parts: Parts,
        sessions: Sessions,
        limits: Limits,
        refiner: Refiner,
        matching: Matching,
    ) -> None:
        self.parts = parts
        self.sessions = sessions
        self.limits = limits
        self.refiner = refiner
        self.matching = matching

    def find(self, values: Values, request: gr.Request) -> Updates:
        """Show where on each reference the content of each defect lies."""
        session = self.sessions.of(request.session_hash)
        options = self._options(values)
        case = self._case(session, values)
        session.corrected.clear()
        self._find(session, case, options)
        used = self.matching.used_sentence(session)
        text = f"{used} Correct what is wrong below, then Refine."
        return self.matching.show(session) | {self.parts.status: notice(text, "good")}

    def refine(
        self,
        values: Values,
        request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  gradio finds it by its default
    ) -> Updates:
        """Mend every defect, after what was found and corrected where that is known."""
        session = self.sessions.of(request.session_hash)
        session.stop.clear()
        options = self._options(values)
        case = self._case(session, values)
        self.matching.note_correction(session, values[self.parts.region])
        current = self._is_current(session, case, options)
        if not current and (session.corrected or session.chosen):
            progress(0.0, desc="Finding the region")
            self._find(session, case, options)
            current = True
        result = self.refiner.refine(
            case,
            self._guides(session, case, options) if current else None,
            options,
            progress=lambda done, count: progress((done, count), desc="Refining", unit="steps"),
            stop=session.stop,
        )
        if not current:
            matches = tuple(
                DefectMatch(mask=item.mask, choice=item.choice) for item in result.defects
            )
            session.found_anew(Found(mask=case.artifact_mask, options=options, matches=matches))
        kept = keep_result(
            session,
            case,
            result,
            model=self.refiner.name,
            options=options,
            most=self.limits.results,
        )
        seconds = sum(result.seconds.values())
        said = f"Done in {seconds:.1f} s. {self.matching.used_sentence(session)}"
        return (
            self.matching.show(session)
            | self._show(kept, values[self.parts.view])
            | {
                self.parts.history: self._history(session),
                self.parts.status: notice(said, "good"),
            }
        )

    def stop(self, request: gr.Request) -> Updates:
        """Stop after the sampler step that is being computed."""
        self.sessions.of(request.session_hash).stop.set()
        return {self.parts.stop: gr.Button(value="Stopping …", interactive=False)}

    def view(self, view: str, request: gr.Request) -> Updates:
        """Show the last result whole, or around the defect."""
        session = self.sessions.of(request.session_hash)
        shown = session.shown
        return {} if shown is None else self._show(shown, view)

    def look_back(self, view: str, event: gr.SelectData, request: gr.Request) -> Updates:
        """Show a result of the history again; the newest is the first."""
        session = self.sessions.of(request.session_hash)
        number = int(event.index)
        if number >= len(session.results):
            return {}
        session.shown = session.results[-1 - number]
        return self._show(session.shown, view)

    def busy(self) -> Updates:
        """Keep a second click from queueing the same work."""
        return {
            self.parts.find: gr.Button(interactive=False),
            self.parts.refine: gr.Button(value="Working …", interactive=False),
            self.parts.stop: gr.Button(value="Stop", interactive=True, visible=True),
        }

    def idle(self) -> Updates:
        """Take clicks again."""
        return {
            self.parts.find: gr.Button(interactive=True),
            self.parts.refine: gr.Button(value="Refine", interactive=True),
            self.parts.stop: gr.Button(visible=False),
        }

    def _case(self, session: Session, values: Values) -> Case:
        size = (1, 1) if session.picture is None else session.picture.size
        return session.case(painted_mask(values[self.parts.editor], size))

    def _options(self, values: Values) -> Options:
        given = [values[component] for component in self.parts.settings()]
        if any(value is None for value in given):
            raise InputError("A setting is empty; give it a number, or reload the page.")
        steps, guidance, seed, zoom_in, crop_factor, magnification, num_noises, separate = given
        options = Options(
            steps=int(steps),
            guidance_scale=float(guidance),
            seed=int(seed),
            zoom_in=bool(zoom_in),
            crop_factor=float(crop_factor),
            max_magnification=float(magnification),
            num_noises=int(num_noises),
            separate=bool(separate),
        )
        self.refiner.settings(options)  # refuses what does not fit before anything is computed
        return options

    def _find(self, session: Session, case: Case, options: Options) -> None:
        matches = tuple(self.refiner.find(case, options))
        session.found_anew(Found(mask=case.artifact_mask, options=options, matches=matches))

    def _guides(self, session: Session, case: Case, options: Options) -> list[DefectMatch]:
        """Return what was found of each defect, as far as the user has not said otherwise."""
        assert session.found is not None
        guides: list[DefectMatch] = []
        for defect, match in enumerate(session.found.matches):
            index = self.matching.used(session, defect)
            region = self.matching.correction(session, defect)
            guides.append(
                self.refiner.with_reference(match, index)
                if region is None
                else self.refiner.with_region(case, match, index, region, options)
            )
        return guides

    def _is_current(self, session: Session, case: Case, options: Options) -> bool:
        """Return whether what was found is what would be found now."""
        found = session.found
        if found is None or not np.array_equal(found.mask, case.artifact_mask):
            return False
        same = dataclasses.replace(
            found.options, steps=options.steps, guidance_scale=options.guidance_scale
        )
        return same == options

    def _show(self, kept: Kept, view: str) -> Updates:
        before, after = kept.near if view == NEAR else kept.whole
        return {
            self.parts.result: gr.ImageSlider(value=(str(before), str(after))),
            self.parts.view: gr.Radio(visible=True),
            self.parts.download_picture: gr.DownloadButton(value=str(kept.picture), visible=True),
            self.parts.download_archive: gr.DownloadButton(value=str(kept.archive), visible=True),
        }

    def _history(self, session: Session) -> gr.Gallery:
        newest_first = [(str(kept.whole[1]), kept.caption) for kept in reversed(session.results)]
        return gr.Gallery(value=newest_first, visible=True)
