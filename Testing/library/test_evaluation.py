"""The evaluation: cases, comparison on the truth's lattice, the run over many cases."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from InnerEarAILib.evaluation.calibration import CALIBRATION_EDGES
from InnerEarAILib.evaluation.cases import (
    CaseRecipe,
    labelled_case,
    obtained,
    read_case,
    turned,
    write_case,
)
from InnerEarAILib.evaluation.comparison import CaseFigures, compare, compare_places, comparison_masks
from InnerEarAILib.evaluation.evaluate import evaluate
from InnerEarAILib.evaluation.tables import tables
from InnerEarAILib.inference.merging import NoRoomError
from InnerEarAILib.landmark_files import write_landmarks
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import InputError, Volume
from library.evaluated_cases import CENTRE, ELLIPSOID_MM3, beside, case, judged, recipe, true_ear
from library.scans import affine, noisy_scan, painted_ear, scan_result


def test_the_truth_itself_is_found_perfect():
    figures = compare(case(), scan_result([painted_ear("right", CENTRE)]), 3.0)
    (ear,) = figures.ears
    assert ear.found
    assert ear.side_right
    assert ear.dice == 1.0
    assert ear.hausdorff_mm == 0.0
    assert ear.landmarks_mm == pytest.approx(0.0, abs=1e-9)
    assert ear.true_volume_mm3 == pytest.approx(ELLIPSOID_MM3, rel=0.01)
    assert (figures.false_ears, figures.seconds) == (0, 3.0)


def test_a_shifted_result_on_a_coarser_lattice_has_the_dice_of_shifted_ellipsoids():
    # Two unit balls whose centres are d apart share 1 - 3d/4 + d³/16 of their volume; here d = 0.6 / 3 along x.
    shift = np.array([0.6, 0.0, 0.0])
    (ear,) = compare(case(), scan_result([painted_ear("right", CENTRE + shift, 0.3)]), 0.0).ears
    d = 0.6 / 3
    assert ear.dice == pytest.approx(1 - 3 * d / 4 + d**3 / 16, abs=0.01)
    assert ear.landmarks_mm == pytest.approx(0.6)
    assert ear.average_hausdorff_mm < ear.hausdorff_mm <= 0.9
    assert ear.iou == pytest.approx(ear.dice / (2 - ear.dice))


def test_an_ear_elsewhere_is_a_false_one_and_the_true_one_is_missed():
    figures = compare(case(), scan_result([painted_ear("left", CENTRE + 40)]), 0.0)
    (ear,) = figures.ears
    assert not ear.found
    assert ear.side_right is None
    assert ear.dice == 0.0
    assert np.isnan(ear.landmarks_mm)
    assert figures.false_ears == 1
    assert figures.false_deviations == (0.012,)


def test_what_was_found_beyond_the_truths_grid_counts_as_wrong():
    far = painted_ear("right", CENTRE)
    voxels = np.pad(far.segmentation.voxels, ((0, 0), (0, 0), (0, 100)))
    voxels[28:32, 28:32, 140:150] = 1
    wide = replace(far, segmentation=Volume(voxels, far.segmentation.affine_lps))
    (ear,) = compare(case(), scan_result([wide]), 0.0).ears
    assert ear.precision < 1.0
    assert ear.hausdorff_mm > 15
    assert ear.recall == 1.0


def with_island(at_i):
    """The truth and an island of 4 × 4 × 10 voxels that begins at a voxel along i."""
    ear = painted_ear("right", CENTRE)
    voxels = np.pad(ear.segmentation.voxels, ((0, 0), (0, 0), (0, 300)))
    voxels[28:32, 28:32, at_i : at_i + 10] = 1
    return replace(ear, segmentation=Volume(voxels, ear.segmentation.affine_lps))


def test_an_island_costs_accuracy_and_specificity_as_much_near_as_far():
    exact, near, far = (
        compare(case(), scan_result([found]), 0.0).ears[0]
        for found in (painted_ear("right", CENTRE), with_island(80), with_island(300))
    )
    assert near.accuracy == pytest.approx(far.accuracy)
    assert near.specificity == pytest.approx(far.specificity)
    assert far.accuracy < exact.accuracy == 1.0
    assert far.specificity < exact.specificity == 1.0
    assert far.hausdorff_mm > near.hausdorff_mm


def test_two_ears_are_told_apart_and_a_wrong_side_is_counted():
    other = np.array([40.0, 6.0, 3.0])
    both = (true_ear(), true_ear(other, "left"))
    found = scan_result([painted_ear("right", other), painted_ear("right", CENTRE)])
    figures = compare(case(ears=both), found, 0.0)
    assert [ear.dice for ear in figures.ears] == pytest.approx([1.0, 1.0], abs=0.02)
    assert [ear.side_right for ear in figures.ears] == [True, False]


def test_a_locator_is_judged_by_places_alone():
    figures = compare_places(case(), [CENTRE + 40, beside(0, 3, 4)], 1.0)
    (ear,) = figures.ears
    assert ear.found
    assert ear.centre_mm == pytest.approx(5.0, abs=0.1)
    assert np.isnan(ear.dice)
    assert figures.false_ears == 1
    assert [table.title for table in tables([figures])] == ["Detection"]


def test_calibration_counts_wrong_voxels_by_stated_deviation():
    exact = compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0)
    shifted = painted_ear("right", beside(0.6, 0, 0))
    off = compare(case(), scan_result([shifted]), 0.0)
    assert len(exact.calibration) == len(CALIBRATION_EDGES) - 1
    assert sum(label.wrong for label in exact.calibration) == 0
    grid, here, truth = comparison_masks(true_ear(), shifted)
    missed_or_invented = (truth != here) & np.isfinite(resample(shifted.uncertainty, grid))
    assert sum(label.wrong for label in off.calibration) == np.count_nonzero(missed_or_invented) > 0
    # The painted deviation is 0.5 · exp(-0.1 r²): voxels near the centre are of the last class, and none is wrong.
    assert exact.calibration[-1].voxels > 0
    assert off.calibration[-1].wrong == 0
    # That over the views is painted half as large, so that none of its voxels is of that class.
    assert sum(label.wrong for label in off.view_calibration) == np.count_nonzero(missed_or_invented)
    assert off.view_calibration[-1].voxels == 0


def test_figures_survive_json():
    figures = compare(case(), scan_result([painted_ear("right", CENTRE, unfound=("helicotrema",))]), 1.0)
    again = CaseFigures.from_dict(json.loads(json.dumps(figures.to_dict(), allow_nan=False)))
    assert again.to_dict() == figures.to_dict()
    assert np.isnan(again.ears[0].helicotrema_mm)


@pytest.mark.parametrize("angles", [(90, 0, 0), (0, 0, 180), (20, 30, 25)])
def test_a_turned_case_holds_the_same_anatomy_in_another_place(angles):
    rotation = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    original = case()
    copy = turned(original, rotation, "copy", "turned")
    assert np.array_equal(copy.scan.voxels, original.scan.voxels)
    assert np.allclose(copy.scan.grid.centre_lps, original.scan.grid.centre_lps)
    here, there = original.ears[0], copy.ears[0]
    for name in LANDMARK_NAMES:
        assert np.allclose(
            original.scan.grid.to_indices(here.landmarks[name]), copy.scan.grid.to_indices(there.landmarks[name])
        )
    (ear,) = compare(copy, scan_result([replace_ear(there)]), 0.0).ears
    assert ear.dice == 1.0
    assert copy.original == original.name


def replace_ear(true):
    """A result that is the truth."""
    ear = painted_ear(true.side, CENTRE, uncertain=False)
    landmarks = tuple(replace(one, position_lps=true.landmarks[one.name]) for one in ear.landmarks)
    return replace(ear, segmentation=true.labyrinth, landmarks=landmarks)


def test_a_kept_case_is_read_back_the_same(tmp_path):
    write_case(tmp_path / "case.npz", case())
    again = read_case(tmp_path / "case.npz")
    assert np.array_equal(again.scan.voxels, case().scan.voxels)
    assert np.array_equal(again.ears[0].labyrinth.affine_lps, case().ears[0].labyrinth.affine_lps)
    assert np.array_equal(again.ears[0].landmarks["oval window"], case().ears[0].landmarks["oval window"])
    (tmp_path / "case.npz").write_bytes(b"PK damaged")
    assert read_case(tmp_path / "case.npz") is None


def test_a_drawn_case_is_made_once_and_again_when_its_recipe_changes(tmp_path):
    made = []

    def make(obtain):
        made.append(1)
        return case()

    first = CaseRecipe("a", "g", make, {"seed": 1}, drawn=True)
    for one in (first, first, replace(first, described={"seed": 2})):
        assert obtained(one, tmp_path).scan.voxels.size
    assert len(made) == 2


def test_labelled_files_become_a_case(tmp_path):
    truth = true_ear()
    write_volume(tmp_path / "scan.nrrd", noisy_scan(affine(origin=CENTRE - 7)))
    write_volume(tmp_path / "labels.nrrd", truth.labyrinth.with_voxels(truth.labyrinth.voxels * 3))
    write_landmarks(tmp_path / "ear.mrk.json", painted_ear("right", CENTRE).landmarks)
    files = [tmp_path / name for name in ("scan.nrrd", "labels.nrrd", "ear.mrk.json")]
    made = labelled_case(*files, side="right")
    assert made.ears[0].side == "right"
    assert set(np.unique(made.ears[0].labyrinth.voxels)) == {0, 1}
    assert np.allclose(made.ears[0].landmarks["helicotrema"], CENTRE)
    (unsided,) = labelled_case(*files[:2], None).ears
    assert unsided.side == ""
    (ear,) = compare(replace(made, ears=(unsided,)), scan_result([painted_ear("right", CENTRE)]), 0.0).ears
    assert (ear.found, ear.side_right) == (True, None)


def test_empty_labels_are_refused(tmp_path):
    write_volume(tmp_path / "scan.nrrd", noisy_scan())
    write_volume(tmp_path / "labels.nrrd", Volume(np.zeros((4, 4, 4), np.uint8), affine()))
    with pytest.raises(InputError, match="labels nothing"):
        labelled_case(tmp_path / "scan.nrrd", tmp_path / "labels.nrrd", None)


def test_an_evaluation_goes_on_where_it_ended(tmp_path):
    asked = []

    def answer(scan):
        asked.append(scan.name)
        return scan_result([painted_ear("right", CENTRE)])

    recipes = [recipe("a"), recipe("b")]
    evaluate(judged(answer), recipes[:1], tmp_path)
    outcome = evaluate(judged(answer), recipes, tmp_path)
    assert asked == ["a", "b"]
    assert [one.name for one in outcome.figures] == ["a", "b"]
    evaluate(judged(answer, weights="other"), recipes, tmp_path)
    assert asked == ["a", "b", "a", "b"]


def test_no_case_is_begun_after_the_time(tmp_path):
    now = iter(range(0, 10_000, 20))  # every look at the clock is 20 s later
    recipes = [recipe(name) for name in "abcdef"]
    outcome = evaluate(judged(), recipes, tmp_path, minutes=3.0, clock=lambda: float(next(now)))
    assert 0 < len(outcome.figures) < 6
    assert len(outcome.figures) + len(outcome.remaining) == 6
    assert len(evaluate(judged(), recipes, tmp_path).figures) == 6


def test_a_scan_that_is_refused_counts_as_missed_and_one_that_fails_does_not_cost_the_others(tmp_path):
    def answer(scan):
        if scan.name == "air":
            raise InputError("Every voxel has the same value.")
        if scan.name == "bad":
            raise RuntimeError("boom")
        if scan.name == "large":
            raise NoRoomError("The folder for temporary files has no room.")
        return scan_result([painted_ear("right", CENTRE)])

    outcome = evaluate(judged(answer), [recipe(name) for name in ("bad", "air", "large", "good")], tmp_path)
    assert [one.name for one in outcome.figures] == ["air", "good"]
    assert outcome.figures[0].refusal == "Every voxel has the same value."
    assert not outcome.figures[0].ears[0].found
    for name, said, sentence in zip(("bad", "large"), outcome.failed, ("boom", "no room"), strict=True):
        assert sentence in said
        assert not (tmp_path / "cases" / "clinical" / f"{name}.json").exists()


def test_a_broken_model_ends_the_evaluation(tmp_path):
    def answer(scan):
        raise ModelError("The weights are missing.")

    with pytest.raises(ModelError, match="missing"):
        evaluate(judged(answer), [recipe()], tmp_path)


def test_a_whole_head_is_left_to_models_with_a_locator(tmp_path):
    head = recipe("head", needs_locator=True)
    outcome = evaluate(replace(judged(), has_locator=False), [head, recipe()], tmp_path)
    assert outcome.left_out == ("head",)
    assert len(outcome.figures) == 1
