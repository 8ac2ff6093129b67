"""Keeping what is painted as a case of a benchmark: `rba app --annotate DIR`."""

import dataclasses
import re
import shutil
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from rba.app.layout import heading, painting_editor
from rba.app.loading import editor_update
from rba.app.painting import REGION_COLOUR, painted_mask, shown
from rba.app.parts import Parts, Updates, notice
from rba.app.session import Session, Sessions
from rba.app.uploads import Picture
from rba.case import GENERATORS, TASKS, Case
from rba.errors import InputError
from rba.evaluation.bench_check import case_faults
from rba.evaluation.benchmark import FACTS, write_case

_NAME = re.compile(r"[\w][\w .+-]{0,99}")
_HINT = (
    "Paint the defect above and drop the references. Then mark where the defect's content lies: "
    "on the reference that shows it best."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnnotationParts:
    """The section's components."""

    mark: gr.Button
    which: gr.Radio
    region: gr.ImageEditor
    name: gr.Textbox
    task: gr.Dropdown
    generator: gr.Dropdown
    save: gr.Button
    saved: gr.HTML


def lay_out_annotation(folder: Path) -> AnnotationParts:
    """Lay the section out inside the `gr.Blocks` that is open.

    Args:
        folder: What the page calls the benchmark.
    """
    heading(
        "Keep as a case",
        f"What is painted becomes a case of “{folder.name}”, which stays on the machine that runs "
        "this page. The region that the model found is not taken: mark the true one.",
    )
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320):
            mark = gr.Button("Mark the region on the reference", elem_id="mark-region")
            which = gr.Radio([], label="The region lies on", visible=False)
            region = painting_editor("Paint the matching region", REGION_COLOUR, "paint-truth")
        with gr.Column(min_width=320):
            name = gr.Textbox(label="Name", placeholder="the picture's name", max_length=100)
            task = gr.Dropdown(
                list(TASKS), value=TASKS[0], label="Task", allow_custom_value=True, elem_id="task"
            )
            generator = gr.Dropdown(
                [*GENERATORS, "other"], value="other", label="Generator", allow_custom_value=True
            )
            save = gr.Button("Save the case", variant="primary", elem_id="save-case")
            saved = gr.HTML(notice(_HINT), elem_id="saved")
    return AnnotationParts(
        mark=mark,
        which=which,
        region=region,
        name=name,
        task=task,
        generator=generator,
        save=save,
        saved=saved,
    )


class Annotating:
    """The section's handlers.

    Args:
        parts: The page's components.
        own: The section's.
        sessions: The open tabs.
        folder: The benchmark; cases are written into it, none is replaced.
    """

    def __init__(
        self, parts: Parts, own: AnnotationParts, sessions: Sessions, folder: Path
    ) -> None:
        self.parts = parts
        self.own = own
        self.sessions = sessions
        self.folder = folder
        self._marked: weakref.WeakKeyDictionary[Session, Picture] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def mark(self, which: str | None, request: gr.Request) -> Updates:
        """Show a reference to paint on; ``which`` is its place among several, ``Reference 2``."""
        session = self.sessions.of(request.session_hash)
        references = session.references
        if not references:
            raise InputError("Drop a reference first: a picture of the same object.")
        names = [f"Reference {number}" for number in range(1, len(references) + 1)]
        chosen = names.index(which) if which in names else 0
        self._marked[session] = references[chosen]
        return {
            self.own.region: editor_update(session, shown(references[chosen].pixels), []),
            self.own.which: gr.Radio(
                choices=names, value=names[chosen], visible=len(references) > 1
            ),
        }

    def save(self, values: Mapping[Any, Any], request: gr.Request) -> Updates:
        """Write what is painted as a case; an empty name becomes the picture's."""
        session = self.sessions.of(request.session_hash)
        size = (1, 1) if session.picture is None else session.picture.size
        case = session.case(painted_mask(values[self.parts.editor], size))
        case, known = self._with_region(session, case, values[self.own.region])
        with self._lock:
            case = dataclasses.replace(
                case,
                id=self._free_name(str(values[self.own.name] or "").strip(), case.id),
                task=_word("task", values[self.own.task]),
                generator=_word("generator", values[self.own.generator]),
            )
            for fault in case_faults(case):
                raise InputError(fault)
            aside = self.folder / f".{case.id}.part"
            shutil.rmtree(aside, ignore_errors=True)
            write_case(aside, case)
            aside.rename(self.folder / case.id)
        number = len(list(self.folder.glob(f"*/{FACTS}")))
        region = "" if known else " without a matching region"
        text = f"Saved as {case.id}{region}. {self.folder.name} has {number} case"
        return {
            self.own.saved: notice(f"{text}{'' if number == 1 else 's'}.", "good"),
            self.own.name: "",
        }

    def _with_region(self, session: Session, case: Case, painted: Any) -> tuple[Case, bool]:
        """Put the marked reference first and the region on it; say whether one was painted."""
        marked = self._marked.get(session)
        if marked is None:
            return case, False
        region = painted_mask(painted, marked.size)
        if not region.any():
            return case, False
        places = [place for place, item in enumerate(session.references) if item is marked]
        if not places:
            raise InputError("The references have changed; mark the region again.")
        order = [places[0], *(n for n in range(len(case.references)) if n != places[0])]
        changed = dataclasses.replace(
            case,
            references=tuple(case.references[n] for n in order),
            reference_masks=tuple(case.reference_masks[n] for n in order),
            correspondence_mask=region.astype(np.float32),
        )
        return changed, True

    def _free_name(self, wanted: str, usual: str) -> str:
        taken = {path.name.casefold() for path in self.folder.iterdir()}
        if wanted:
            if not _NAME.fullmatch(wanted) or wanted.endswith((" ", ".")):
                raise InputError(f"“{wanted}” is no name for a folder; use letters and digits.")
            if wanted.casefold() in taken:
                raise InputError(f"“{wanted}” is there already; give another name.")
            return wanted
        base = re.sub(r"[^\w.+-]+", "-", usual).strip(".-")[:90] or "case"
        names = (base if number == 1 else f"{base}-{number}" for number in range(1, len(taken) + 2))
        return next(name for name in names if name.casefold() not in taken)


def add_annotation(
    parts: Parts,
    sessions: Sessions,
    folder: Path,
    safe: Callable[[Callable[..., Updates]], Callable[..., Updates]],
) -> Annotating:
    """Add the section to the page that is being built.

    Args:
        parts: The page's components.
        sessions: The open tabs.
        folder: The benchmark.
        safe: Makes a handler say a user's mistake.
    """
    own = lay_out_annotation(folder)
    annotating = Annotating(parts, own, sessions, folder)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    marking = [own.region, own.which, parts.status]
    own.mark.click(safe(annotating.mark), own.which, marking, **quiet)
    own.which.input(safe(annotating.mark), own.which, marking, **quiet)
    values: set[Any] = {parts.editor, own.region, own.name, own.task, own.generator}
    own.save.click(safe(annotating.save), values, [own.saved, own.name, parts.status], **quiet)
    return annotating


def _word(name: str, value: Any) -> str:
    text = str(value or "").strip()
    if not text:
        raise InputError(f"The {name} is empty; choose one, or write your own.")
    return text
