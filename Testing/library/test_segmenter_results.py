"""What the route makes of a model's card, of its views and of where a scan ends; what it records."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from InnerEarAILib import segmenter
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.segmenter import SegmenterOptions, segment
from InnerEarAILib.segmenter_options import PRESETS, Preset
from library.painted_ear import PaintedEar, ReadingNetwork, grid_round, scan
from library.reading_models import CARD, install, marks

SMALL = replace(CARD, spacing_mm=0.6, tile_voxels=36, overlap_voxels=4, region_mm=21.6)
CENTRE = (-44.0, 12.0, 130.0)
FIELD_MM = 20.0
"""Of a scan that fits into one tile."""


@pytest.fixture(scope="module")
def ear():
    return scan([PaintedEar("right", CENTRE)], grid_round(CENTRE, 0.5, (FIELD_MM, FIELD_MM, FIELD_MM)))


@pytest.fixture(autouse=True)
def small_model(monkeypatch):
    install(monkeypatch, SMALL)
    monkeypatch.setattr(segmenter, "locate_ears", marks(CENTRE))


def confidences(volume):
    (found,) = segment(volume, SegmenterOptions(preset="fast")).ears
    return np.array([landmark.confidence for landmark in found.landmarks])


def test_presets_are_those_of_the_readme():
    assert {
        "standard": Preset(locate=True, views=10, postprocess=True),
        "fast": Preset(locate=True, views=1, postprocess=True),
        "paper": Preset(locate=False, views=10, postprocess=False),
    } == PRESETS
    assert SegmenterOptions().preset == "standard"


def test_views_of_a_whole_scan_agree_on_an_ear_that_lies_off_its_beginning():
    middle = np.array(CENTRE) - (6, 0, 0)
    volume = scan([PaintedEar("right", CENTRE)], grid_round(middle, 0.5, (FIELD_MM + 14, FIELD_MM, FIELD_MM)))
    (found,) = segment(volume, SegmenterOptions(preset="paper")).ears
    assert found.segmentation.grid.origin_lps[0] > volume.grid.origin_lps[0] + 5
    assert max(landmark.scatter_mm for landmark in found.landmarks) < 0.5


def test_confidence_is_measured_by_the_heatmaps_that_the_model_was_trained_with(ear, monkeypatch):
    expected = confidences(ear) / 0.7
    install(monkeypatch, replace(SMALL, heatmap_amplitude=0.7))
    assert expected.max() < 1
    np.testing.assert_allclose(confidences(ear), expected, rtol=1e-5)


class WaveringNetwork(ReadingNetwork):
    """As sure as the view lets it be: what it reads depends on the direction."""

    def forward(self, image):
        read = super().forward(image)
        wavering = torch.linspace(-4, 4, image.shape[2])[:, None, None]
        return read._replace(segmentation=(read.segmentation + wavering).clamp(-12, 12))


@pytest.mark.parametrize(("usual", "flagged"), [(1e-9, True), (0.4, False)])
def test_uncertainty_is_judged_by_what_the_card_says_is_usual(ear, monkeypatch, usual, flagged):
    install(monkeypatch, replace(SMALL, figures={"usual_standard_deviation": usual}), WaveringNetwork)
    (found,) = segment(ear, SegmenterOptions(preset="standard")).ears
    assert any("unusually unsure" in flag for flag in found.quality.flags) == flagged


@pytest.mark.parametrize(("asked", "looked"), [(None, 1), (10, 10)])
def test_a_network_that_was_taught_no_turns_looks_once_unless_asked(ear, monkeypatch, asked, looked):
    install(monkeypatch, replace(SMALL, figures={"views_taught": 1}))
    result = segment(ear, SegmenterOptions(preset="standard", views=asked))
    assert result.provenance["views"] == looked
    assert any("no quarter turns" in note for note in result.notes) == (looked == 1)
    assert (result.ears[0].view_deviation is None) == (looked == 1)


class ColumnNetwork(ReadingNetwork):
    """Finds the landmarks, and takes a column from below to above for labyrinth, whatever it sees there."""

    def forward(self, image):
        read = super().forward(image)
        segmentation = torch.full_like(read.segmentation, -10)
        segmentation[..., 12:-12, 12:-12] = 10
        return read._replace(segmentation=segmentation)


def test_nothing_is_drawn_where_the_scan_has_no_values(ear, monkeypatch):
    install(monkeypatch, SMALL, ColumnNetwork)
    thin = ear.crop((9, 0, 0), (29, *ear.voxels.shape[1:]))  # 10 of the region's 21.6 mm
    (found,) = segment(thin, SegmenterOptions(preset="fast")).ears
    drawn_mm = found.segmentation.grid.to_lps(np.argwhere(found.segmentation.voxels)[:, ::-1])[:, 2]
    lowest_mm, highest_mm = thin.grid.corners_lps()[:, 2].min(), thin.grid.corners_lps()[:, 2].max()
    assert drawn_mm.min() == pytest.approx(lowest_mm, abs=SMALL.spacing_mm)
    assert drawn_mm.max() == pytest.approx(highest_mm, abs=SMALL.spacing_mm)


@pytest.mark.parametrize(
    ("of_each", "recorded"),
    [
        (("It was half.", "none"), "It was half."),
        (("It was half.", "It was a quarter."), "It was half. It was a quarter."),
        (("It was half.", "It was half."), "It was half."),
    ],
)
def test_what_had_to_be_given_up_for_either_ear_is_recorded(monkeypatch, of_each, recorded):
    fallbacks = iter(of_each)

    def predicted(*given, **options):
        prediction = predict(*given, **options)
        if not options["heatmaps"]:  # a look for the middle of the ear
            return prediction
        return replace(prediction, execution={**prediction.execution, "fallbacks": next(fallbacks)})

    ears = [PaintedEar("right", (-18, 5, 40)), PaintedEar("left", (18, 5, 40))]
    head = scan(ears, grid_round((0, 5, 40), 0.7, (60, FIELD_MM, FIELD_MM)))
    monkeypatch.setattr(segmenter, "locate_ears", marks(*(ear.centre for ear in ears)))
    monkeypatch.setattr(segmenter, "predict", predicted)
    result = segment(head, SegmenterOptions(preset="fast"))
    assert len(result.ears) == 2
    assert result.provenance["execution.fallbacks"] == recorded
