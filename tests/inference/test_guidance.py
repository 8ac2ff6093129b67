"""What guides the refinement stage: the region encoded again, or its tokens of the whole."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from rba.inference.align import AlignmentSettings
from rba.inference.frames import images_to_tensor
from rba.inference.guidance import region_tokens
from rba.inference.refine import align_requests, refine
from rba.inference.request import RefinementRequest, RefinementSettings
from rba.inference.sampler import SamplerSettings
from rba.models.network import RefinementNetwork

SETTINGS = RefinementSettings(
    sampler=SamplerSettings(num_inference_steps=1),
    alignment=AlignmentSettings(num_inference_steps=1),
)


@pytest.fixture
def region() -> np.ndarray:
    """The upper left quarter of a 64 x 64 reference: 4 x 4 of its 8 x 8 tokens."""
    region = np.zeros((64, 64), bool)
    region[:32, :32] = True
    return region


def test_the_region_alone_is_encoded_again(
    network: RefinementNetwork, scheduler: Any, make_case: Any, region: np.ndarray
) -> None:
    request = RefinementRequest(case=make_case(reference=(64, 64)), region=region)
    alignments = align_requests(network, scheduler, [request], SETTINGS)
    matched = alignments[0].matched
    assert matched is not None
    with torch.no_grad():
        expected = network.embed_references(images_to_tensor([matched.pixels]))
        assert torch.equal(region_tokens(network, alignments, reencode=True), expected)


def test_without_encoding_again_the_region_s_tokens_stay_and_the_others_are_null(
    network: RefinementNetwork, scheduler: Any, make_case: Any, region: np.ndarray
) -> None:
    case = make_case(reference=(64, 64))
    requests = [
        RefinementRequest(case=case, region=region),
        RefinementRequest(case=case, no_reference=True),
    ]
    alignments = align_requests(network, scheduler, requests, SETTINGS)
    with torch.no_grad():
        tokens = region_tokens(network, alignments, reencode=False).reshape(2, 8, 8, -1)
        pictures = images_to_tensor([alignments[0].reference.pixels])
        whole = network.embed_references(pictures).reshape(8, 8, -1)
        null = network.null_tokens(1).reshape(8, 8, -1)
    assert torch.allclose(tokens[0, :4, :4], whole[:4, :4], atol=1e-5)
    assert torch.equal(tokens[0, 4:], null[4:])
    assert torch.equal(tokens[0, :, 4:], null[:, 4:])
    assert torch.equal(tokens[1], null)


def test_the_setting_reaches_the_picture(
    network: RefinementNetwork, scheduler: Any, make_case: Any, region: np.ndarray
) -> None:
    request = RefinementRequest(case=make_case(reference=(64, 64)), region=region)
    images = [
        refine(
            network, scheduler, request, dataclasses.replace(SETTINGS, reencode_region=wanted)
        ).image
        for wanted in (True, False)
    ]
    assert not np.array_equal(images[0], images[1])
