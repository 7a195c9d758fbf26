"""The route, driven by a network that reads painted grey values: geometry, sides, presets, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from InnerEarAILib import segmenter
from InnerEarAILib.contrast_matching import CONTRAST_KEY, DRAWN_EARS, ContrastReference
from InnerEarAILib.inference import device
from InnerEarAILib.inference.locator import EarCandidate
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.networks.dual_head_unet import DualHeadUNetConfig
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.segmenter import SegmenterOptions, segment
from InnerEarAILib.volume import Grid, InputError, Volume
from library.painted_ear import PaintedEar, ReadingNetwork, grid_round, scan
from library.reading_models import CARD, LOCATOR, install, marks

CENTRE = (-44.0, 12.0, 130.0)


@pytest.fixture(autouse=True)
def reading_models(monkeypatch):
    install(monkeypatch)


def dice(first: Volume, second: Volume) -> float:
    """Dice of two masks on different grids, on the first's lattice widened to hold both."""
    corners = np.concatenate([first.grid.corners_lps(), second.grid.corners_lps()])
    grid = grid_round((corners.min(0) + corners.max(0)) / 2, 0.1, corners.max(0) - corners.min(0) + 1)
    reference = Volume(np.zeros(grid.shape, np.uint8), grid.affine_lps).to_sitk()
    masks = [
        sitk.GetArrayFromImage(sitk.Resample(v.to_sitk(), reference, sitk.Transform(), sitk.sitkNearestNeighbor)) > 0
        for v in (first, second)
    ]
    return 2 * (masks[0] & masks[1]).sum() / (masks[0].sum() + masks[1].sum())


def check_landmarks(ear, painted, within_mm):
    for landmark in ear.landmarks:
        np.testing.assert_allclose(landmark.position_lps, painted.landmarks[landmark.name], atol=within_mm)


@pytest.fixture(scope="module")
def straight():
    return scan([PaintedEar("right", CENTRE)], grid_round(CENTRE, 0.3, (42, 42, 42)))


def test_the_ear_is_found_where_it_is(straight):
    result = segment(straight, SegmenterOptions(preset="standard"))
    (ear,) = result.ears
    assert ear.side == "right"
    check_landmarks(ear, PaintedEar("right", CENTRE), 0.6)
    assert 100 < ear.quality.volume_mm3 < 260
    assert ear.quality.mean_standard_deviation > 0
    assert result.provenance["views"] == 10
    assert result.provenance["model"] == "clinical"
    assert result.provenance["seconds.predicting"] > 0


@settings(max_examples=4, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.tuples(*[st.floats(-180, 180)] * 3),
    st.tuples(*[st.floats(0.3, 0.4)] * 3),
    st.tuples(*[st.sampled_from((-1, 1))] * 3),
)
def test_oblique_anisotropic_and_flipped_scans_of_one_ear_give_the_same_ear(straight, angles, spacing_mm, signs):
    other = scan([PaintedEar("right", CENTRE)], grid_round(CENTRE, spacing_mm, (42, 42, 42), angles, signs))
    options = SegmenterOptions(preset="fast")
    (expected,), (ear,) = segment(straight, options).ears, segment(other, options).ears
    assert dice(expected.segmentation, ear.segmentation) >= 0.99
    for a, b in zip(expected.landmarks, ear.landmarks, strict=True):
        assert np.linalg.norm(a.position_lps - b.position_lps) <= 0.1
    assert ear.side == "right"


def test_permuted_and_flipped_arrays_give_the_very_same_ear(straight):
    affine = straight.affine_lps[:, [1, 2, 0, 3]].copy()
    voxels = np.ascontiguousarray(straight.voxels.transpose(2, 0, 1))
    affine[:3, 3] += affine[:3, 1] * (voxels.shape[1] - 1)
    affine[:3, 1] *= -1
    permuted = Volume(np.ascontiguousarray(voxels[:, ::-1]), affine)
    options = SegmenterOptions(preset="fast")
    (expected,), (ear,) = segment(straight, options).ears, segment(permuted, options).ears
    assert dice(expected.segmentation, ear.segmentation) >= 0.9999
    for a, b in zip(expected.landmarks, ear.landmarks, strict=True):
        np.testing.assert_allclose(a.position_lps, b.position_lps, atol=1e-3)


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(angles=st.tuples(*[st.floats(-180, 180)] * 3), signs=st.tuples(*[st.sampled_from((-1, 1))] * 3))
def test_the_segmentation_can_be_had_on_the_scans_own_voxels(angles, signs):
    volume = scan([PaintedEar("right", CENTRE)], grid_round(CENTRE, (0.3, 0.4, 0.5), (42, 42, 42), angles, signs))
    (fine,) = segment(volume, SegmenterOptions(preset="fast")).ears
    (own,) = segment(volume, SegmenterOptions(preset="fast", output_grid="scan")).ears
    np.testing.assert_allclose(own.segmentation.affine_lps[:3, :3], volume.affine_lps[:3, :3])
    start = volume.grid.to_indices(own.segmentation.grid.origin_lps)
    np.testing.assert_allclose(start, np.rint(start), atol=1e-6)
    assert dice(fine.segmentation, own.segmentation) > 0.9
    assert own.quality.volume_mm3 == pytest.approx(own.segmentation.voxels.sum() * np.prod(volume.spacing_mm), rel=0.05)


def test_a_hairs_breadth_of_the_located_centre_changes_nothing(straight, monkeypatch):
    # Centres on either side of where a lattice of the model's voxels would round up.
    ears = []
    for shift_mm in (-1e-4, 1e-4):
        middle = np.array([-42.0, 13.0, 131.0]) + CARD.spacing_mm / 2 + shift_mm
        place = EarCandidate(middle, 200.0, 1.0)
        monkeypatch.setattr(segmenter, "locate_ears", lambda *_, place=place: (place,))
        ears += segment(straight, SegmenterOptions(preset="fast")).ears
    first, second = ears
    assert dice(first.segmentation, second.segmentation) > 0.9995
    for a, b in zip(first.landmarks, second.landmarks, strict=True):
        np.testing.assert_allclose(a.position_lps, b.position_lps, atol=2e-3)


@pytest.mark.parametrize("padding", [-10240, -32768])
def test_an_ear_beside_padding_far_below_air_is_found_and_the_padding_mentioned(straight, padding):
    voxels = straight.voxels.copy()
    voxels[:4] = padding
    result = segment(straight.with_voxels(voxels), SegmenterOptions(preset="fast"))
    assert [ear.side for ear in result.ears] == ["right"]
    assert any(f"have the value {padding}: taken as lying outside the scan" in note for note in result.notes)


def test_contrast_matching_is_done_where_it_is_asked_for(straight, monkeypatch):
    calls = []
    monkeypatch.setattr(segmenter, "match_contrast", lambda values, to: calls.append(to) or segmenter.normalise(values))
    plain = segment(straight, SegmenterOptions(preset="fast"))
    assert not calls
    assert plain.provenance["contrast_matched"] is False
    matched = segment(straight, SegmenterOptions(preset="fast", contrast_matching=True))
    assert calls == [DRAWN_EARS] * 2  # for the first look and the last
    assert matched.provenance["contrast_matched"] is True


def test_scans_are_matched_to_what_the_model_was_trained_on(straight, monkeypatch):
    own = ContrastReference(tuple(np.linspace(-1, 2, len(DRAWN_EARS.quantiles)).tolist()))
    trained = replace(CARD, figures={**CARD.figures, CONTRAST_KEY: list(own.quantiles)})
    monkeypatch.setattr(segmenter, "choose_model", lambda *asked: trained)
    asked = []
    monkeypatch.setattr(segmenter, "match_contrast", lambda values, to: asked.append(to) or segmenter.normalise(values))
    segment(straight, SegmenterOptions(preset="fast", contrast_matching=True))
    assert asked == [own] * 2


@pytest.fixture(scope="module")
def head():
    ears = [PaintedEar("right", (-42, 5, 40)), PaintedEar("left", (42, 8, 42))]
    return scan(ears, grid_round((0, 6, 40), 0.6, (120, 40, 40))), ears


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_both_ears_of_a_head_are_told_apart(head, preset):
    volume, painted = head
    result = segment(volume, SegmenterOptions(preset=preset, views=1, postprocess=True))
    assert [ear.side for ear in result.ears] == ["right", "left"]
    for ear, truth in zip(result.ears, painted, strict=True):
        check_landmarks(ear, truth, 0.9)


def test_both_ears_of_a_head_share_one_lattice(head):
    right, left = segment(head[0], SegmenterOptions(preset="fast")).ears
    apart = left.segmentation.grid.to_indices(right.segmentation.grid.origin_lps)
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-6)


@pytest.mark.parametrize("off_mm", [(9, 0, 0), (0, -7, 7), (-6, 6, -6)])
def test_a_mark_far_off_the_middle_leads_to_the_same_ear(straight, monkeypatch, off_mm):
    (expected,) = segment(straight, SegmenterOptions(preset="fast")).ears
    place = np.array(expected.segmentation.grid.centre_lps) + off_mm
    monkeypatch.setattr(segmenter, "locate_ears", marks(place))
    (ear,) = segment(straight, SegmenterOptions(preset="fast")).ears
    assert dice(expected.segmentation, ear.segmentation) > 0.995


def test_a_mark_beside_an_ear_is_not_a_second_ear(straight, monkeypatch):
    middle = np.array(CENTRE)
    monkeypatch.setattr(segmenter, "locate_ears", marks(middle - [3, 0, 2], middle - [12, -8, 8]))
    assert len(segment(straight, SegmenterOptions(preset="fast")).ears) == 1


def test_an_ear_that_one_region_cuts_off_and_another_shows_whole_comes_once_and_whole(straight, monkeypatch):
    (whole,) = segment(straight, SegmenterOptions(preset="fast")).ears
    beside, round_it = (
        Grid.cube_round(np.array(CENTRE) + off, CARD.spacing_mm, CARD.region_voxels) for off in ((0, 0, -10), (0, 0, 0))
    )
    monkeypatch.setattr(segmenter, "SAME_EAR_MM", 5.0)
    for regions in ((beside, round_it), (round_it, beside)):
        looked_at = iter(regions)
        monkeypatch.setattr(segmenter._Route, "_region_centred_on_ear", lambda route, mark, at=looked_at: next(at))
        monkeypatch.setattr(segmenter, "locate_ears", marks(CENTRE, CENTRE))
        monkeypatch.setattr(segmenter, "is_inner_ear", lambda *drawn: True)
        (ear,) = segment(straight, SegmenterOptions(preset="fast")).ears
        assert ear.quality.volume_mm3 == pytest.approx(whole.quality.volume_mm3, rel=0.05)


def test_marks_that_are_no_ear_do_not_push_ears_out(head, monkeypatch):
    volume, ears = head
    nothing = [(0, 6, 40), (10, 6, 40)]
    monkeypatch.setattr(segmenter, "locate_ears", marks(*nothing, *(ear.centre for ear in ears)))
    found = segment(volume, SegmenterOptions(preset="fast")).ears
    assert [ear.side for ear in found] == ["right", "left"]


def test_one_ear_alone_can_be_asked_for(head):
    result = segment(head[0], SegmenterOptions(preset="fast", ear="left"))
    assert [ear.side for ear in result.ears] == ["left"]


def test_a_head_mirrored_front_to_back_is_noticed(head):
    volume, _ = head
    mirrored = Volume(np.ascontiguousarray(volume.voxels[:, ::-1]), volume.affine_lps)
    result = segment(mirrored, SegmenterOptions(preset="fast"))
    assert [any("mirrored" in flag for flag in ear.quality.flags) for ear in result.ears] == [True, True]


def test_asking_for_the_wrong_ear_is_noticed(straight):
    result = segment(straight, SegmenterOptions(preset="fast", ear="left"))
    (ear,) = result.ears
    assert ear.side == "right"
    assert any("If it is the left ear, the scan may be mirrored" in flag for flag in ear.quality.flags)
    assert "No left ear was found, only a right one." in result.notes


def test_an_ear_at_the_edge_of_a_round_field_is_said_to_be_cut_off(straight):
    _, j, i = np.indices(straight.voxels.shape)
    middle = (np.array(straight.voxels.shape) - 1) / 2
    beyond = np.hypot(j - middle[1], i - middle[2]) > 26
    padded = straight.with_voxels(np.where(beyond, np.float32(-32768), straight.voxels.astype(np.float32)))
    result = segment(padded, SegmenterOptions(preset="fast", locate=False))
    assert "taken as lying outside the scan" in " ".join(result.notes)
    (ear,) = result.ears
    assert any("cut off" in flag for flag in ear.quality.flags)


def test_an_ear_at_the_edge_of_the_scan_is_said_to_be_cut_off(straight):
    cut = straight.crop((0, 0, 0), (straight.voxels.shape[0] // 2 + 8, *straight.voxels.shape[1:]))
    (ear,) = segment(cut, SegmenterOptions(preset="fast", locate=False)).ears
    assert any("cut off" in flag for flag in ear.quality.flags)


def test_what_is_not_the_ear_does_not_reach_the_end_of_the_scan(straight):
    voxels = straight.voxels.copy()
    voxels[:4, :, :20] = 300  # read as labyrinth
    marked = Volume(voxels, straight.affine_lps)
    (ear,) = segment(marked, SegmenterOptions(preset="fast", locate=False, postprocess=True)).ears
    assert not any("cut off" in flag for flag in ear.quality.flags)


class WaveringNetwork(ReadingNetwork):
    """As sure as the view lets it be: what it reads depends on the direction."""

    def forward(self, image):
        read = super().forward(image)
        wavering = torch.linspace(-4, 4, image.shape[2])[:, None, None]
        return read._replace(segmentation=(read.segmentation + wavering).clamp(-12, 12))


def test_the_signal_does_not_depend_on_how_much_of_the_scan_is_looked_at(straight, monkeypatch):
    monkeypatch.setattr(segmenter, "load_network", lambda card, device: WaveringNetwork())
    (ear,) = segment(straight, SegmenterOptions(preset="standard")).ears
    spread = ear.view_deviation.voxels
    assert spread.max() > 0.05
    assert ear.quality.mean_standard_deviation == pytest.approx(spread.mean(dtype=np.float64), rel=1e-5)
    # The same ear in a field of view that ends within the region round it.
    start = int(straight.grid.to_indices(ear.view_deviation.grid.to_lps((6, 6, 6)))[0])
    small = straight.crop((0, 0, start), straight.voxels.shape)
    (cropped,) = segment(small, SegmenterOptions(preset="standard")).ears
    seen = np.isfinite(resample(small, cropped.view_deviation.grid))
    expected = cropped.view_deviation.voxels[seen].sum(dtype=np.float64) / seen.size
    assert seen.mean() < 0.95
    assert cropped.quality.mean_standard_deviation == pytest.approx(expected, rel=1e-5)


def test_what_is_stated_of_a_voxel_holds_the_contradiction_of_the_views_and_their_own_doubt(straight, monkeypatch):
    """Var[label] = Var over the views of p + mean over the views of p (1 - p), at most 1/4."""
    monkeypatch.setattr(segmenter, "load_network", lambda card, device: WaveringNetwork())
    (ear,) = segment(straight, SegmenterOptions(preset="standard")).ears
    stated, of_views = ear.uncertainty.voxels, ear.view_deviation.voxels
    assert stated.dtype == np.float32
    assert 0 <= stated.min() <= stated.max() <= 0.5
    assert (stated >= of_views - 1e-3).all()
    # Where the views say 0 or 1, whether together or against each other, there is no doubt of their own.
    assert (stated > of_views + 0.1).any()
    np.testing.assert_array_equal(ear.uncertainty.affine_lps, ear.view_deviation.affine_lps)


def test_what_is_recorded_of_the_run_is_that_of_the_ear(straight, monkeypatch):
    x, y, z = CENTRE
    monkeypatch.setattr(segmenter, "locate_ears", marks((x + 3, y, z), (x, y, z - 16)))
    result = segment(straight, SegmenterOptions(preset="standard"))
    assert len(result.ears) == 1
    assert result.provenance["execution.views"] == 10


def test_a_false_mark_in_the_whole_scan_does_not_push_an_ear_out(head):
    volume, _ = head
    voxels = volume.voxels.copy()
    middle = np.array(voxels.shape) // 2
    around = tuple(slice(n - 10, n + 10) for n in middle)
    voxels[around] = 1500
    voxels[tuple(slice(n - 8, n + 8) for n in middle)] = 300  # 880 mm³ that read as labyrinth, more than an ear
    options = SegmenterOptions(preset="paper", views=1, postprocess=True)
    found = segment(Volume(voxels, volume.affine_lps), options).ears
    assert [ear.side for ear in found] == ["right", "left"]


def test_a_gpu_that_does_not_compute_is_mentioned(straight, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(device, "trouble_with", lambda gpu: "PyTorch cannot compute on it (no kernel image)")
    result = segment(straight, SegmenterOptions(preset="fast"))
    assert result.provenance["device"] == "cpu"
    assert "The GPU is not used: PyTorch cannot compute on it (no kernel image)." in result.notes


def test_one_view_states_its_own_doubt_and_no_contradiction(straight, monkeypatch):
    monkeypatch.setattr(segmenter, "load_network", lambda card, device: WaveringNetwork())
    (ear,) = segment(straight, SegmenterOptions(preset="fast")).ears
    assert 0.3 < ear.uncertainty.voxels.max() <= 0.5
    assert np.median(ear.uncertainty.voxels) < 0.05
    assert ear.view_deviation is None
    assert ear.quality.mean_standard_deviation is None
    assert all(landmark.scatter_mm is None for landmark in ear.landmarks)


class SegmentingNetwork(ReadingNetwork):
    """Draws the labyrinth alone, as the cascade of 2D networks does."""

    def forward(self, image):
        return super().forward(image)._replace(heatmaps=None)


def test_network_without_landmarks_segments_and_says_that_it_found_none(straight, monkeypatch):
    whole = segment(straight, SegmenterOptions(preset="fast"))
    monkeypatch.setattr(
        segmenter, "load_network", lambda card, device: ReadingNetwork() if card is LOCATOR else SegmentingNetwork()
    )
    (ear,) = segment(straight, SegmenterOptions(preset="fast")).ears
    assert dice(ear.segmentation, whole.ears[0].segmentation) > 0.999
    assert [landmark.position_lps for landmark in ear.landmarks] == [None] * 3
    assert "The helicotrema was not found." in ear.quality.flags
    assert "The shape does not tell left from right." in ear.quality.flags


def test_network_of_landmarks_alone_is_refused_in_a_sentence(straight, monkeypatch):
    alone = replace(CARD, network=DualHeadUNetConfig(heads="heatmaps").to_dict())
    monkeypatch.setattr(segmenter, "find_card", lambda name, directory=None: alone)
    with pytest.raises(ModelError, match="finds landmarks alone"):
        segment(straight, SegmenterOptions(model="clinical"))


def test_a_scan_without_an_ear_has_none():
    rng = np.random.default_rng(0)
    volume = Volume(rng.normal(0, 20, (80, 80, 80)).astype(np.int16), np.diag([0.5, 0.5, 0.5, 1]))
    assert segment(volume, SegmenterOptions(preset="fast")).ears == ()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (SegmenterOptions(preset="best"), InputError, "no preset"),
        (SegmenterOptions(ear="middle"), InputError, "no ear"),
        (SegmenterOptions(output_grid="own"), InputError, "output grid"),
        (SegmenterOptions(views=3), InputError, "1 or 10"),
        (SegmenterOptions(model="nobody"), ModelError, "no model"),
        (SegmenterOptions(model="locator"), ModelError, "is a locator; choose one that draws"),
    ],
)
def test_what_cannot_be_chosen_is_refused_in_a_sentence(straight, options, error, words):
    with pytest.raises(error, match=words):
        segment(straight, options)


def test_cancelling_stops_between_tiles(straight):
    steps = []
    progress = Progress(on_step=lambda step, share: steps.append(step), is_cancelled=lambda: "Segmenting" in steps)
    with pytest.raises(Cancelled):
        segment(straight, SegmenterOptions(preset="standard"), progress)
    assert steps.count("Segmenting") <= 2
