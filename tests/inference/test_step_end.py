"""diffusers' callback at the end of a step: what it is given, what it may do."""

from typing import Any

import numpy as np
import pytest
from diffusers.callbacks import SDCFGCutoffCallback

from rba.errors import InputError
from rba.inference.pipeline import RefineByAlignPipeline


def test_a_callback_is_given_what_it_asks_for(
    pipeline: RefineByAlignPipeline, pictures: dict[str, Any]
) -> None:
    given: list[list[str]] = []

    def note(_: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> None:
        given.append(list(tensors))

    options: dict[str, Any] = {**pictures, "callback_on_step_end": note, "num_inference_steps": 2}
    pipeline(**options)
    pipeline(**options, callback_on_step_end_tensor_inputs=[])
    assert given == [["latents"]] * 2 + [[]] * 2
    with pytest.raises(InputError, match="has prompt_embeds; give those of latents"):
        pipeline(**options, callback_on_step_end_tensor_inputs=["prompt_embeds"])
    options["callback_on_step_end"] = SDCFGCutoffCallback(cutoff_step_ratio=0.4)
    with pytest.raises(InputError, match="has prompt_embeds"):  # its own tensor_inputs count
        pipeline(**options)


def test_the_pipeline_tells_of_its_call(
    pipeline: RefineByAlignPipeline, pictures: dict[str, Any]
) -> None:
    assert not pipeline.interrupt
    seen: list[tuple[float, bool, int]] = []

    def note(pipe: Any, *_: Any) -> dict[str, Any]:
        seen.append((pipe.guidance_scale, pipe.do_classifier_free_guidance, pipe.num_timesteps))
        return {}

    for scale in (1.0, 3.5):
        pipeline(**pictures, guidance_scale=scale, num_inference_steps=2, callback_on_step_end=note)
    assert seen == [(1.0, False, 2)] * 2 + [(3.5, True, 2)] * 2


def test_an_interrupted_call_begins_nothing_else(
    pipeline: RefineByAlignPipeline, pictures: dict[str, Any]
) -> None:
    two = pictures["mask_image"].copy()
    two[80:84, 2:8] = True
    steps: list[int] = []

    def stop(pipe: Any, step: int, *_: Any) -> dict[str, Any]:
        steps.append(step)
        pipe._interrupt = step == 1
        return {}

    out = pipeline(
        image=[pictures["image"]] * 2,
        mask_image=two,
        reference=pictures["reference"],
        num_inference_steps=4,
        settings=pipeline.settings(batch_size=1),
        output_type="np",
        callback_on_step_end=stop,
    )
    assert steps == [0, 1]
    assert pipeline.interrupt
    assert [len(result.defects) for result in out.results] == [1, 0]
    assert np.array_equal(out.results[1].image, pictures["image"])
    assert not out.results[1].feather_mask().any()
    assert out.references == [0, None]
    assert out.correspondence_masks[1] is None
    assert np.isnan(out.confidences[1])
    untouched = out.results[0].feather_mask() == 0
    assert np.array_equal(out.results[0].image[untouched], pictures["image"][untouched])
    assert untouched[80:84, 2:8].all()
    pipeline(**pictures, num_inference_steps=1)
    assert not pipeline.interrupt
