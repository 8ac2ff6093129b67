"""The printed tables hold the figures, whatever is missing."""

import numpy as np

from rba.evaluation.report import Report
from rba.evaluation.summary import summary
from rba.inference.gamma import Calibration


def test_means_and_intervals_are_printed(report: Report) -> None:
    lines = summary(report.metrics).splitlines()
    model = report.metrics["alignment"]["model"]
    low, high = model["miou_interval"]
    (line,) = [text for text in lines if text.startswith("model ")][:1]
    assert f"{model['miou']:.3f} [{low:.3f}, {high:.3f}]" in line
    gain = report.metrics["comparisons"]["refinement"]["right_reference_minus_defect"]
    (line,) = [text for text in lines if text.startswith("right reference minus defect")][:1]
    assert f"{gain['psnr_in_hole']:+.2f}" in line
    assert sum("look-alike places" in text for text in lines) == 2
    assert lines[-1].endswith("mask: 0")


def test_calibration_and_its_halves_are_printed(report: Report) -> None:
    scores = np.zeros((2, 2, 1, 16))
    scores[0, 0, 0, 3] = scores[1, 0, 0, 5] = 0.5
    found = Calibration(scores=scores, steps=(0,), num_inference_steps=50)
    text = summary(report.metrics | {"calibration": found.to_dict()})
    assert "calibrated on 2 cases: sampler step 0, layer 3, mIoU 0.250" in text
    assert "odd cases alone: step 0, layer 5, mIoU 0.500; on the other half 0.000" in text
    alone = Calibration(scores=scores[:1], steps=(0,), num_inference_steps=50)
    assert "alone" not in summary(report.metrics | {"calibration": alone.to_dict()})


def test_missing_figures_are_dashes(report: Report) -> None:
    nothing = {"miou": None, "miou_interval": None, "hit_rate": 0.5, "hit_rate_interval": None}
    bare = report.metrics | {"alignment": {"model": nothing}, "num_refined": 0, "subsets": {}}
    text = summary(bare)
    assert " - " in text
    assert "in the hole" not in text
