"""Cases that the phantom draws, and the suite of them."""

import json

import numpy as np
import pytest
from scipy import ndimage

from development_data import development_data
from InnerEarAILib.ear_result import LandmarkResult
from InnerEarAILib.evaluation import phantom_cases
from InnerEarAILib.evaluation.cases import labelled_case, renamed_apart
from InnerEarAILib.evaluation.given_cases import anatomy_recipes, labelled_recipe, read_case_list
from InnerEarAILib.evaluation.phantom_cases import PhantomRecipe, described, drawn_phantom, finest_useful_mm
from InnerEarAILib.evaluation.suite import FIRST_REPORTED, NORMAL_GROUPS, USUAL_PREFIX, suite
from InnerEarAILib.inference.chirality import side_by_chirality
from InnerEarAILib.inference.quality import centre_of_mass
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import InputError, Volume
from library.scans import noisy_scan

COARSE_MM = 0.9


@pytest.fixture(scope="module")
def coarse():
    """Drawn as coarsely as still shows an ear: seconds instead of minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_cases, "TRUTH_SPACING_MM", 0.5)
        patch.setattr(phantom_cases, "DRAWN_MM", 30.0)
        patch.setattr(phantom_cases, "FIELD_MM", 24.0)
        yield


@pytest.fixture(scope="module")
def drawn(coarse):
    return drawn_phantom(PhantomRecipe(7, "ear", "multi_slice", finest_mm=COARSE_MM), "ear_7", "a group")


def test_a_drawn_ear_is_a_plausible_labyrinth_with_its_landmarks(drawn):
    (ear,) = drawn.ears
    volume_mm3 = np.count_nonzero(ear.labyrinth.voxels) * ear.labyrinth.spacing_mm.prod()
    assert 120 < volume_mm3 < 300
    centre = centre_of_mass(ear.labyrinth)
    assert set(ear.landmarks) == set(LANDMARK_NAMES)
    assert all(np.linalg.norm(position - centre) < 9 for position in ear.landmarks.values())
    found = tuple(LandmarkResult(name, ear.landmarks[name], 1.0) for name in LANDMARK_NAMES)
    assert side_by_chirality(found, centre) == ear.side
    # The labyrinth is whole: no marked voxel at the border of its box.
    faces = [ear.labyrinth.voxels.take(end, axis).any() for axis in range(3) for end in (0, -1)]
    assert not any(faces)


def test_the_scan_shows_the_truth_where_it_is(drawn):
    (ear,) = drawn.ears
    seen = resample(drawn.scan, ear.labyrinth.grid)
    inside = ear.labyrinth.voxels > 0
    assert np.isfinite(seen[inside]).all()
    capsule = ndimage.binary_dilation(inside, iterations=2) & ~inside
    core = ndimage.binary_erosion(inside)
    assert seen[core].mean() < seen[capsule].mean()
    assert drawn.scan.voxels.dtype.kind in "iu"


def test_the_same_recipe_draws_the_same_case_and_another_number_another(coarse, drawn):
    again = drawn_phantom(PhantomRecipe(7, "ear", "multi_slice", finest_mm=COARSE_MM), "ear_7", "a group")
    other = drawn_phantom(PhantomRecipe(8, "ear", "multi_slice", finest_mm=COARSE_MM), "ear_8", "a group")
    assert np.array_equal(again.scan.voxels, drawn.scan.voxels)
    assert not np.array_equal(other.ears[0].landmarks["oval window"], drawn.ears[0].landmarks["oval window"])


@pytest.mark.parametrize("kind", ["knee", "air"])
def test_a_scan_without_an_ear_has_none(coarse, kind):
    recipe = PhantomRecipe(1, "earless", "multi_slice", variant=kind, finest_mm=1.5)
    assert drawn_phantom(recipe, "earless", "no ear").ears == ()


def test_scans_are_drawn_no_finer_than_a_model_can_use():
    assert finest_useful_mm(0.099, "flat_panel") == 0.099
    assert finest_useful_mm(0.35, "flat_panel") == finest_useful_mm(0.7, "flat_panel") == 0.25
    assert finest_useful_mm(0.198, "cone_beam") == 0.198
    assert finest_useful_mm(0.099, "multi_slice") == 0.25


@pytest.mark.parametrize("role", ["segmenter", "locator"])
@pytest.mark.parametrize("quick", [True, False])
def test_the_suite_is_of_different_cases_and_as_large_as_promised(role, quick):
    recipes = suite(0.35, role, quick)
    assert len({recipe.name for recipe in recipes}) == len(recipes)
    assert len({str(recipe.described) for recipe in recipes}) == len(recipes)
    reported = [recipe for recipe in recipes if not recipe.group.startswith(USUAL_PREFIX)]
    assert len(reported) == 6 if quick else 35 <= len(reported) <= 90
    assert len(recipes) - len(reported) == (40 if role == "segmenter" and not quick else 0)
    assert recipes[0].group == NORMAL_GROUPS[0]
    # Within the first cases every group has been met: an evaluation that is cut short says something of all.
    groups = {recipe.group for recipe in recipes}
    assert {recipe.group for recipe in recipes[: len(groups)]} == groups


def test_a_quick_suite_is_a_part_of_the_whole_one():
    whole = {str(recipe.described) for recipe in suite(0.35)}
    assert {str(recipe.described) for recipe in suite(0.35, quick=True)} <= whole


def test_no_figure_is_of_a_case_that_development_looks_at():
    numbers = [(recipe.described["number"] % 1000, recipe.group) for recipe in suite(0.35) + suite(1.0, "locator")]
    for number, group in numbers:
        assert (number >= FIRST_REPORTED) != group.startswith(USUAL_PREFIX)


def test_what_a_case_depends_on_is_said_without_paths():
    assert described(PhantomRecipe(1, "ear", "micro"))["seed"] == phantom_cases.EVALUATION_SEED
    assert described(PhantomRecipe(1, "ear", "micro")) != described(PhantomRecipe(2, "ear", "micro"))


def test_a_manifest_lists_cases_with_paths_beside_it(tmp_path):
    write_volume(tmp_path / "scan.nrrd", noisy_scan())
    write_volume(tmp_path / "labels.nrrd", Volume(np.ones((4, 4, 4), np.uint8), np.eye(4)))
    row = '{"scan": "scan.nrrd", "labels": "labels.nrrd", "side": "left", "group": "clinic"}'
    (tmp_path / "cases.json").write_text(f'{{"cases": [{row}, {row}]}}', encoding="utf-8")
    recipes = renamed_apart(read_case_list(tmp_path / "cases.json", 0.35))
    assert [recipe.name for recipe in recipes] == ["scan_1", "scan_2"]
    made = recipes[0].make(None)
    assert (made.group, made.ears[0].side) == ("clinic", "left")
    assert recipes[0].patient == recipes[1].patient  # the same scan
    other = '{"scan": "labels.nrrd", "labels": "labels.nrrd", "patient": "17"}'
    (tmp_path / "cases.json").write_text(f'{{"cases": [{other}, {row}]}}', encoding="utf-8")
    assert [recipe.patient for recipe in read_case_list(tmp_path / "cases.json", 0.35)] == [
        "patient 17",
        recipes[0].patient,
    ]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{", "JSON"),
        ("[]", "lists neither"),
        ('{"cases": []}', "no case"),
        ('{"cases": [{"scan": "a.nrrd"}]}', "labels"),
        ('{"cases": [{"scan": "a.nrrd", "labels": "b.nrrd"}]}', "no file"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, content, word):
    (tmp_path / "cases.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=word):
        read_case_list(tmp_path / "cases.json", 0.35)


def test_a_changed_file_is_another_case(tmp_path):
    for name in ("scan.nrrd", "labels.nrrd"):
        write_volume(tmp_path / name, noisy_scan(seed=1))
    before = labelled_recipe(tmp_path / "scan.nrrd", tmp_path / "labels.nrrd", None).described
    write_volume(tmp_path / "labels.nrrd", noisy_scan(seed=2, shape=(9, 9, 9)))
    assert labelled_recipe(tmp_path / "scan.nrrd", tmp_path / "labels.nrrd", None).described != before


def test_the_real_clinical_scan_is_a_case():
    folder = development_data("head_ct")
    names = ("head_ct_right_ear_ct.nrrd", "head_ct_right_ear_labels_refined.nrrd", "head_ct_right_ear_landmarks.json")
    made = labelled_case(*(folder / name for name in names))
    (ear,) = made.ears
    assert ear.side == "right"
    assert set(ear.landmarks) == set(LANDMARK_NAMES)
    assert np.count_nonzero(ear.labyrinth.voxels) * ear.labyrinth.spacing_mm.prod() == pytest.approx(194, abs=2)


@pytest.mark.slow
def test_a_real_label_map_is_scanned_with_its_side(coarse):
    folder = development_data("temporal_bones")
    files = (folder / "LT151_labels.nrrd", folder / "LT151_landmarks.json", folder / "labels.json")
    (recipe,) = anatomy_recipes(files, ["multi_slice"], 0.35)
    made = recipe.make(None)
    (ear,) = made.ears
    assert ear.side == "left"
    assert np.count_nonzero(ear.labyrinth.voxels) * ear.labyrinth.spacing_mm.prod() == pytest.approx(218, rel=0.06)


def sided(folder, side):
    write_volume(folder / "scan.nrrd", noisy_scan())
    row = {"scan": "scan.nrrd", "labels": "scan.nrrd", "side": side}
    # As the Notepad of Windows saves it.
    (folder / "cases.json").write_text(json.dumps({"cases": [row]}), encoding="utf-8-sig")
    return read_case_list(folder / "cases.json", 0.35)


def test_a_side_is_told_in_any_case_and_other_words_are_named(tmp_path):
    (recipe,) = sided(tmp_path, "Left")
    assert recipe.described["side"] == "left"
    with pytest.raises(InputError, match=r"The side of scan\.nrrd is “L”; say left or right"):
        sided(tmp_path, "L")
