"""Labelled scans whose truth is wrong are not judged: they are no figures of a model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from InnerEarAILib.evaluation.cases import labelled_case, obtained
from InnerEarAILib.evaluation.evaluate import evaluate, judged_route
from InnerEarAILib.evaluation.given_cases import labelled_recipe
from InnerEarAILib.evaluation.held_out import held_out
from InnerEarAILib.evaluation.manifest_cases import data_set_recipes
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.training.manifest import data_mistakes, read_manifest
from InnerEarAILib.volume import InputError, Volume
from library.reading_models import CARD
from library.scans import scan_result
from library.written_cases import MARKS, entry, markups, volumes, write_case, write_manifest

RAS = np.array([-1.0, -1.0, 1.0])


def given(folder, scan=None, labels=None, marks=MARKS):
    """Files of a labelled scan as --case takes them."""
    own_scan, own_labels = volumes()
    write_volume(folder / "a.nrrd", scan or own_scan)
    write_volume(folder / "a_labels.nrrd", labels or own_labels)
    (folder / "a.json").write_text(json.dumps({name: list(place) for name, place in marks.items()}), encoding="utf-8")
    return folder / "a.nrrd", folder / "a_labels.nrrd", folder / "a.json"


def in_ras():
    return {name: (RAS * place).tolist() for name, place in MARKS.items()}


def moved(volume, shift_mm):
    affine = volume.affine_lps.copy()
    affine[:3, 3] += shift_mm
    return replace(volume, affine_lps=affine)


def outcome_of(recipes, folder):
    return evaluate(judged_route("finds nothing", lambda scan: scan_result([]), {}), recipes, folder)


def test_landmarks_in_ras_are_no_figures_of_a_data_set_and_the_signs_are_named(tmp_path):
    write_case(tmp_path, "fine")
    write_case(tmp_path, "a", marks=in_ras())
    path = write_manifest(tmp_path, [entry("fine"), entry("a")])
    outcome = outcome_of(data_set_recipes(path), tmp_path / "out")
    assert [figures.name for figures in outcome.figures] == ["fine"]
    (failed,) = outcome.failed
    assert failed.startswith("a: Not judged: its helicotrema lies outside the scan; its signs look like RAS: say so")
    assert outcome_of(data_set_recipes(path), tmp_path / "out").failed == outcome.failed  # and nothing was kept
    assert "its signs look like RAS" in data_mistakes(read_manifest(path).cases)[0]


def test_landmarks_that_are_astray_otherwise_are_not_said_to_be_ras(tmp_path):
    astray = MARKS | {"helicotrema": [15.0, 14, 16]}
    with pytest.raises(InputError, match=r"its helicotrema lies \d\.\d mm from the labyrinth\.$"):
        labelled_case(*given(tmp_path, marks=astray))


@pytest.mark.parametrize("marks", [in_ras(), {"oval window": (RAS * MARKS["oval window"]).tolist()}])
def test_landmarks_in_ras_are_no_figures_of_a_scan_of_its_own(tmp_path, marks):
    outcome = outcome_of([labelled_recipe(*given(tmp_path, marks=marks), side="right")], tmp_path / "out")
    assert outcome.figures == ()
    assert "its oval window lies outside the scan; its signs look like RAS" in outcome.failed[0]


def test_markups_that_say_ras_are_judged(tmp_path):
    files = given(tmp_path)
    markups(tmp_path / "a.mrk.json", MARKS, "RAS")
    (ear,) = labelled_case(*files[:2], tmp_path / "a.mrk.json", side="right").ears
    assert ear.landmarks["helicotrema"].tolist() == MARKS["helicotrema"]


@pytest.mark.parametrize("shift_mm", [(4.0, 0, 0), (60.0, -20, 900)])
def test_labels_of_another_origin_than_their_scan_are_not_judged(tmp_path, shift_mm):
    labels = moved(volumes()[1], shift_mm)
    beside = f"lies {np.linalg.norm(shift_mm):.1f} mm beside"
    with pytest.raises(InputError, match=f"Not judged: its labels have the voxels of its scan .* {beside}"):
        labelled_case(*given(tmp_path, labels=labels), side="right")


@pytest.mark.parametrize(("shift_mm", "share"), [((9.0, 0, 0), r"\d\d"), ((60.0, 0, 0), "0")])
def test_cropped_labels_that_the_scan_does_not_show_are_not_judged(tmp_path, shift_mm, share):
    labels = moved(volumes()[1].crop((0, 2, 3), (40, 36, 33)), shift_mm)
    with pytest.raises(InputError, match=f"its scan shows {share} % of its labyrinth; check origin"):
        labelled_case(*given(tmp_path, labels=labels)[:2], None, side="right")


def test_labels_on_a_finer_grid_of_their_own_are_judged(tmp_path):
    labels = volumes()[1]
    finer = Volume(labels.voxels.repeat(2, 0).repeat(2, 1).repeat(2, 2), labels.grid.refined((2, 2, 2)).affine_lps)
    (ear,) = labelled_case(*given(tmp_path, labels=finer), side="right").ears
    assert ear.labyrinth.voxels.shape == finer.voxels.shape


def test_labels_of_more_than_an_ear_or_of_shares_are_not_judged(tmp_path):
    labels = volumes()[1]
    with pytest.raises(InputError, match="if both ears lie in one label map"):
        labelled_case(*given(tmp_path, labels=labels.with_voxels(np.ones_like(labels.voxels))), side="right")
    with pytest.raises(InputError, match="its labels are not whole numbers"):
        labelled_case(*given(tmp_path, labels=labels.with_voxels(labels.voxels * np.float32(0.3))), side="right")


def test_a_data_sets_ear_is_refused_for_all_that_the_trainer_refuses_but_coarse_voxels(tmp_path):
    _, labels = volumes()
    write_case(tmp_path, "a", labels=moved(labels, (0.4, 0, 0)), marks={"helicotrema": MARKS["helicotrema"]})
    write_case(tmp_path, "b")
    beside, fine = data_set_recipes(write_manifest(tmp_path, [entry("a"), entry("b")]))
    with pytest.raises(InputError) as raised:
        obtained(beside, None)
    assert str(raised.value) == (
        "Not judged: its labels are not on the grid of its scan; export them again with the scan as reference volume; "
        "its oval window is not marked; mark it, or list it under unmarked; its round window is not marked; mark it, "
        "or list it under unmarked."
    )
    assert obtained(fine, None).ears


def card_that_saw(use, recipes):
    listed = {"Balls": [recipe.listed[1] for recipe in recipes]}
    return replace(CARD, figures={f"{use}_cases": listed, f"{use}_scans": [recipe.sha256() for recipe in recipes]})


@pytest.mark.parametrize("use", ["trained_on", "validated_on"])
def test_other_scans_of_the_same_names_are_a_test_and_said_to_be_one(tmp_path, use):
    write_case(tmp_path, "a")
    write_case(tmp_path, "b", scan=volumes()[0].with_voxels(volumes()[0].voxels + 1))
    seen = data_set_recipes(write_manifest(tmp_path, [entry("a")]))
    others = data_set_recipes(write_manifest(tmp_path, [{**entry("b"), "name": "a"}]))
    said = []
    allowed = held_out(others, card_that_saw(use, seen), "tiny", said.append)
    assert [recipe.group for recipe in allowed.recipes] == ["Balls"]
    assert said == ["tiny: same name as a scan of its training, other voxels, so judged: a."]
    known = held_out(seen, card_that_saw(use, seen), "tiny", said.append)
    assert (known.taught, known.validated) == ((1, 0) if use == "trained_on" else (0, 1))


def test_names_tell_where_the_card_holds_no_voxels(tmp_path):
    write_case(tmp_path, "a")
    recipes = data_set_recipes(write_manifest(tmp_path, [entry("a")]))
    named = replace(CARD, figures={"trained_on_cases": {"Balls": ["a"]}})
    assert held_out(recipes, named, "tiny", str).taught == 1


def test_landmarks_of_a_scan_of_its_own_come_from_fcsv_as_well(tmp_path):
    lines = ["# CoordinateSystem = LPS", "# columns = id,x,y,z,label"]
    lines += [f"{name},{x},{y},{z},{name}" for name, (x, y, z) in MARKS.items()]
    (tmp_path / "a.fcsv").write_text("\n".join(lines), encoding="utf-8")
    (ear,) = labelled_case(*given(tmp_path)[:2], tmp_path / "a.fcsv", side="right").ears
    assert {name: place.tolist() for name, place in ear.landmarks.items()} == MARKS
