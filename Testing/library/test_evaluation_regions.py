"""Models judged on the region round each labelled ear of the trainer's data sets."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from InnerEarAILib.contrast_matching import cluster_curves, match_contrast
from InnerEarAILib.evaluation import regions
from InnerEarAILib.evaluation.cases import EvaluationCase, TrueEar, obtained
from InnerEarAILib.evaluation.given_cases import labelled_recipe
from InnerEarAILib.evaluation.held_out import held_out
from InnerEarAILib.evaluation.manifest_cases import case_recipe, data_set_recipes, is_data_set, of_cases
from InnerEarAILib.evaluation.region_outcomes import RegionOptions, judged_on_regions
from InnerEarAILib.evaluation.regions import RegionJudge, curves_of_cases, region_grid
from InnerEarAILib.evaluation.report import write_report
from InnerEarAILib.evaluation.surfaces import can_draw, surface_picture
from InnerEarAILib.inference.postprocessing import fine_probability, labyrinth_mask
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.preprocessing import normalise, resample
from InnerEarAILib.training.manifest import Case, read_manifest
from InnerEarAILib.volume import InputError, Volume
from library.ball_reader import CARD, Reader
from library.labelled_balls import RADIUS_MM, data_set


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    return data_set_recipes(data_set(tmp_path_factory.mktemp("balls"), 3))


@pytest.fixture
def reader(monkeypatch):
    def reads(**heads):
        monkeypatch.setattr(regions, "load_network", lambda card, device: Reader(**heads))

    reads()
    return reads


def made(recipe):
    return obtained(recipe, None)


def test_ball_is_found_where_it_is(balls, reader):
    for recipe in balls:
        figures = RegionJudge(CARD, "cpu").figures(made(recipe))
        (ear,) = figures.ears
        assert ear.dice > 0.85  # the reader also takes what is brighter than the mean half a voxel outside
        assert ear.roc_area == pytest.approx((ear.recall + ear.specificity) / 2)
        assert ear.helicotrema_mm < 0.4
        assert ear.oval_window_mm == pytest.approx(2.0, abs=0.5)
        assert ear.found
        assert ear.side_right is None
        assert np.isnan(ear.mean_standard_deviation)


@pytest.mark.parametrize("widths", [(6, 6, 6), (5, 6, 7)])
def test_scan_on_the_lattice_of_the_training_is_seen_as_it_is(widths):
    affine = np.diag([CARD.spacing_mm] * 3 + [1.0])
    scan = Volume(np.random.default_rng(5).normal(0, 100, (40, 40, 40)).astype(np.float32), affine)
    labels = np.zeros(scan.voxels.shape, np.uint8)
    labels[tuple(slice(17, 17 + width) for width in widths)] = 1
    case = EvaluationCase("noise", "noise", scan, (TrueEar("", Volume(labels, affine), {}),))
    grid = region_grid(case, CARD)
    first = np.round(grid.origin_lps / CARD.spacing_mm).astype(int)[::-1]
    part = scan.voxels[tuple(slice(start, start + CARD.region_voxels) for start in first)]
    np.testing.assert_allclose(resample(scan, grid), part, atol=1e-2)
    middle = scan.grid.to_lps(17 + (np.array(widths[::-1]) - 1) / 2)
    assert np.abs(grid.centre_lps - middle).max() <= CARD.spacing_mm / 2 + 1e-9


def test_ten_views_tell_the_deviation(balls, reader):
    (ear,) = RegionJudge(CARD, "cpu", views=10).figures(made(balls[0])).ears
    assert 0 <= ear.mean_standard_deviation < 0.01


def test_masks_are_as_fine_as_the_routes(balls, reader):
    found, probability = RegionJudge(CARD, "cpu").found(made(balls[0]))
    expected = labyrinth_mask(fine_probability(probability), largest_region=False)
    np.testing.assert_allclose(found.segmentation.spacing_mm, 0.1)
    np.testing.assert_array_equal(found.segmentation.voxels, expected.voxels)


def test_what_lies_outside_the_scan_counts_as_sure(balls, reader):
    case = made(balls[0])
    cut = replace(case, scan=case.scan.crop((0, 0, 0), (20, *case.scan.voxels.shape[1:])))
    found, _ = RegionJudge(CARD, "cpu", views=10).found(cut)
    spread = found.view_deviation.voxels
    known = np.isfinite(resample(cut.scan, found.view_deviation.grid))
    assert known.mean() < 0.7
    expected = spread[known].sum(dtype=np.float64) / spread.size
    assert found.quality.mean_standard_deviation == pytest.approx(expected, rel=1e-6)


def test_network_without_heatmaps_has_no_landmark_figures(balls, reader):
    reader(localises=False)
    (ear,) = RegionJudge(CARD, "cpu").figures(made(balls[0])).ears
    assert ear.dice > 0.85
    assert np.isnan(ear.landmarks_mm)


def test_network_without_segmentation_has_landmark_figures_alone(balls, reader):
    reader(segments=False)
    (ear,) = RegionJudge(CARD, "cpu").figures(made(balls[0])).ears
    assert ear.helicotrema_mm < 0.4
    assert np.isnan([ear.dice, ear.iou, ear.hausdorff_mm, ear.accuracy, ear.roc_area, ear.volume_mm3]).all()


def test_network_that_draws_nothing_has_missed_the_ear(balls, reader, monkeypatch):
    monkeypatch.setattr(Reader, "forward", lambda self, image: NetworkOutput(image - 99, None, (), ()))
    (ear,) = RegionJudge(CARD, "cpu").figures(made(balls[0])).ears
    assert (ear.dice, ear.found) == (0.0, False)
    assert np.isnan(ear.centre_mm)


def test_region_is_the_cube_of_the_training_round_the_labyrinth(balls):
    case = made(balls[0])
    grid = region_grid(case, replace(CARD, region_mm=14.0))
    assert grid.shape == (28, 28, 28)
    truth = np.argwhere(resample(case.ears[0].labyrinth.with_voxels(case.ears[0].labyrinth.voxels * 1.0), grid) > 0.5)
    np.testing.assert_allclose((truth.min(0) + truth.max(0)) / 2, 13.5, atol=1.1)


@pytest.mark.parametrize("contrast", ["own", "matched", "clusters"])
def test_network_sees_the_contrast_that_was_asked_for(balls, monkeypatch, contrast):
    case, seen = made(balls[1]), []

    class Witness(Reader):
        def forward(self, image):
            seen.append(image)
            return super().forward(image)

    monkeypatch.setattr(regions, "load_network", lambda card, device: Witness())
    curves = curves_of_cases(balls, CARD, None) if contrast == "clusters" else {}
    RegionJudge(CARD, "cpu", contrast=contrast, curves=curves).figures(case)
    cut = [resample(made(recipe).scan, region_grid(made(recipe), CARD)) for recipe in balls]
    expected = {
        "own": normalise(cut[1]),
        "matched": match_contrast(cut[1]),
        "clusters": cluster_curves(cut)[1].applied(cut[1]),
    }[contrast]
    np.testing.assert_allclose(seen[0][0, 0].numpy(), expected, atol=1e-5)


def test_scan_that_cannot_be_read_is_in_no_cluster_and_stops_no_other(tmp_path, reader):
    path = data_set(tmp_path / "balls", 3)
    (tmp_path / "balls" / "b1.nrrd").write_text("no scan")
    options = RegionOptions("cpu", 1, "clusters", 1, pictures=False)
    outcome = judged_on_regions(CARD, data_set_recipes(path), tmp_path / "out", options)
    assert [figures.name for figures in outcome.figures] == ["b0", "b2"]
    assert [sentence.split(":")[0] for sentence in outcome.failed] == ["b1"]


def test_cases_that_a_model_was_trained_on_are_left_out(balls):
    taught = replace(CARD, figures={"trained_on_cases": {"Balls": ["b0", "b2"], "Others": ["b1"]}})
    said = []
    allowed = held_out(balls, taught, "reader", said.append)
    assert ([recipe.name for recipe in allowed.recipes], allowed.taught, allowed.validated) == (["b1"], 2, 0)
    assert said == ["reader: 2 cases are left out, since it was trained on them."]


def test_scan_that_was_trained_on_is_left_out_under_any_name_and_by_any_route(tmp_path, balls):
    card = replace(CARD, figures={"trained_on_scans": [balls[1].sha256()], "trained_on_cases": {"Balls": ["b1"]}})
    renamed = data_set_recipes(data_set(tmp_path / "copy", 3, "Renamed"))
    assert [recipe.name for recipe in held_out(renamed, card, "", str).recipes] == ["b0", "b2"]
    files = [(tmp_path / "copy" / f"b{number}.nrrd", tmp_path / "copy" / f"b{number}_labels.nrrd") for number in (0, 1)]
    given = [labelled_recipe(scan.rename(scan.with_stem(f"scan{scan.stem}")), labels, None) for scan, labels in files]
    assert [recipe.name for recipe in held_out(given, card, "", str).recipes] == ["scanb0"]


def test_scans_that_chose_the_weights_stand_in_a_group_of_their_own(tmp_path, reader):
    path = data_set(tmp_path / "balls", 3)
    recipes = data_set_recipes(path)
    judged_on_regions(CARD, recipes, tmp_path / "out", RegionOptions("cpu", 1, pictures=False))
    card = replace(CARD, figures={"validated_on_scans": [recipes[1].sha256()]})
    outcome = judged_on_regions(card, recipes, tmp_path / "out", RegionOptions("cpu", 1, pictures=False))
    groups = {figures.name: figures.group for figures in outcome.figures}  # kept figures as well
    assert groups == {"b0": "Balls", "b1": "Balls, validation", "b2": "Balls"}
    assert outcome.validated == 1
    write_report(tmp_path / "out", [outcome])
    assert "No test data, since they chose its weights" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    own = held_out(of_cases(read_manifest(path), "validation")[1:2], card, "", str)
    assert [recipe.group for recipe in own.recipes] == ["validation"]


def test_scan_that_cannot_be_read_is_left_to_the_evaluation(tmp_path):
    path = data_set(tmp_path / "balls", 2)
    recipes = data_set_recipes(path)
    (tmp_path / "balls" / "b0.nrrd").write_text("no scan")
    card = replace(CARD, figures={"trained_on_scans": [recipes[1].sha256()]})
    assert [recipe.name for recipe in held_out(recipes, card, "", str).recipes] == ["b0"]


def test_cases_of_one_name_in_two_data_sets_are_told_apart(tmp_path):
    paths = [data_set(tmp_path / name, 1, name) for name in ("A", "B")]
    recipes = data_set_recipes(*paths)
    assert [recipe.name for recipe in recipes] == [made(recipe).name for recipe in recipes] == ["A_b0", "B_b0"]
    allowed = held_out(recipes, replace(CARD, figures={"trained_on_cases": {"A": ["b0"]}}), "", str)
    assert [recipe.name for recipe in allowed.recipes] == ["B_b0"]
    with pytest.raises(InputError, match="Two data sets are called “A”"):
        data_set_recipes(paths[0], paths[0])


@pytest.mark.parametrize("names", [("A.1", "A 1", "A_1", "A_1_1"), ("患者甲", "患者乙"), ("Ohr ä", "Ohr ö")])
def test_cases_whose_names_look_alike_in_plain_letters_are_told_apart(tmp_path, names):
    path = data_set(tmp_path, len(names))
    content = path.read_text(encoding="utf-8")
    for number, name in enumerate(names):
        content = content.replace(f'name = "b{number}"', f'name = "{name}"')
    path.write_text(content, encoding="utf-8")
    recipes = data_set_recipes(path)
    told = [recipe.name for recipe in recipes]
    assert len(set(told)) == len(names)
    assert all(re.fullmatch("[A-Za-z0-9_-]+", name) for name in told)
    assert [made(recipe).name for recipe in recipes] == told
    assert [recipe.listed[1] for recipe in recipes] == list(names)


def test_figures_of_another_voxel_size_are_void(tmp_path):
    cases = [Case("ear", (tmp_path / "ear.h5",), spacing_mm=spacing) for spacing in (0.099, 0.2)]
    assert len({str(case_recipe(case, "set", "set").described) for case in cases}) == 2


def test_data_sets_of_the_trainer_are_told_from_lists_of_scans(tmp_path):
    (tmp_path / "scans.json").write_text('{"cases": []}')
    (tmp_path / "set.json").write_text('{"name": "x", "case": []}')
    assert [is_data_set(tmp_path / name) for name in ("scans.json", "set.json", "a.toml", "")] == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.skipif(not can_draw(), reason="no OpenGL here")
def test_surfaces_show_found_missed_and_invented_parts_in_their_colours(balls, reader):
    import SimpleITK as sitk

    case = made(balls[0])
    found, _ = RegionJudge(CARD, "cpu").found(case)
    moved = found.segmentation.affine_lps.copy()
    moved[2, 3] += 0.6 * RADIUS_MM
    png = surface_picture(case, replace(found, segmentation=replace(found.segmentation, affine_lps=moved)))
    reader_io = sitk.ImageFileReader()
    path = balls[0].name + ".png"
    picture = _pixels(png, reader_io, path)
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    assert ((green > red + 40) & (green > blue + 40)).sum() > 500
    assert ((red > green + 60) & (red > blue + 60)).sum() > 500
    assert ((red > 120) & (green > 90) & (blue < 60)).sum() > 200


def _pixels(png, reader_io, name):
    import tempfile
    from pathlib import Path

    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(png)
        reader_io.SetFileName(str(path))
        return sitk.GetArrayFromImage(reader_io.Execute())
