"""The command “evaluate”: what it refuses, what it leaves, and what it writes into a model's card."""

import argparse
import json
from dataclasses import replace

import numpy as np
import pytest

from InnerEarAILib import cli
from InnerEarAILib.evaluation import command
from InnerEarAILib.evaluation.calibration import NO_VOXELS
from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, TrueEar
from InnerEarAILib.evaluation.evaluate import Outcome, evaluate, judged_model, judged_route, middle_deviation
from InnerEarAILib.evaluation.groups import deviations, usual_standard_deviation
from InnerEarAILib.evaluation.model_figures import card_figures
from InnerEarAILib.evaluation.model_page import network_size, readable_card, updated_card
from InnerEarAILib.landmark_files import write_landmarks
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.model_store import load_card, load_network, save_model
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.scan_files import read_volume, write_volume
from InnerEarAILib.training.seen_scans import scan_sha256
from InnerEarAILib.volume import Volume
from library.scans import affine, noisy_scan, painted_ear, scan_result

CENTRE = np.array([-38.0, 4.0, 7.0])

CARD = ModelCard(
    name="tiny",
    version="1",
    role="segmenter",
    network={},
    spacing_mm=0.35,
    tile_voxels=32,
    overlap_voxels=6,
    heatmap_amplitude=4.0,
    heatmap_spread_voxels=2.5,
    region_mm=12.0,
    trained_on="Nothing: random weights.",
    validated_on="Nothing.",
    limits="For tests.",
    licence="Apache-2.0",
    library_version="0.1.0",
    figures={"validation_dice": 0.8, "usual_standard_deviation": 1.0},
)


@pytest.fixture
def store(tmp_path):
    save_model(tmp_path / "models", CARD, DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    return tmp_path / "models"


@pytest.fixture
def files(tmp_path):
    ear = painted_ear("right", CENTRE)
    write_volume(tmp_path / "scan.nrrd", noisy_scan(affine(origin=CENTRE - 7)))
    write_volume(tmp_path / "labels.nrrd", ear.segmentation)
    positions = {one.name: (CENTRE + shift).tolist() for one, shift in zip(ear.landmarks, RIGHT_EAR, strict=True)}
    (tmp_path / "landmarks.json").write_text(json.dumps(positions), encoding="utf-8")
    return [str(tmp_path / name) for name in ("scan.nrrd", "labels.nrrd", "landmarks.json")]


RIGHT_EAR = np.array([[3.9, -4.6, 0.3], [-3.0, 0.0, -1.0], [-1.8, 0.0, -3.7]])
"""Landmarks about the centre that lie as those of a right ear do."""


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    command.add_evaluate_command(parser.add_subparsers())
    return parser.parse_args(["evaluate", *map(str, arguments)])


def fake_judge(card, *options):
    del options
    return judged_route(card.name, lambda scan: scan_result([painted_ear("right", CENTRE)]), {}, True)


def test_labelled_scans_are_judged_by_one_command(tmp_path, store, files, capsys):
    chosen = parsed("--model", "tiny", "--models", store, "--case", *files, "-o", tmp_path / "out", "--device", "cpu")
    assert command.run_evaluate_command(chosen, fake_judge) == 0
    assert (tmp_path / "out" / "index.html").is_file()
    assert "right ear Dice 1.000" in capsys.readouterr().out
    assert "| real scans | 1 | 1.000 |" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")


def test_scans_that_a_model_has_seen_are_no_test_by_their_files_either(tmp_path, store, files, capsys):
    other = tmp_path / "other.nrrd"
    write_volume(other, noisy_scan(affine(origin=CENTRE - 7), seed=5))
    taught, chosen_by = (scan_sha256(read_volume(path)) for path in (files[0], other))
    seen = {"trained_on_scans": [taught], "validated_on_scans": [chosen_by]}
    save_model(store, replace(CARD, figures=seen), DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    row = {"scan": "scan.nrrd", "labels": "labels.nrrd", "landmarks": "landmarks.json", "group": "clinic"}
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [row, {**row, "scan": "other.nrrd"}]}), encoding="utf-8")
    chosen = parsed("--model", "tiny", "--models", store, "--case", *files, "--data", tmp_path / "cases.json",
                    "-o", tmp_path / "out", "--device", "cpu")  # fmt: skip
    assert command.run_evaluate_command(chosen, fake_judge) == 0
    assert "2 cases are left out" in capsys.readouterr().out
    rows = (tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 2
    assert '"clinic, validation"' in rows[1]
    tables = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert "Left out, since it was trained on them: 2." in tables
    alone = parsed("--model", "tiny", "--models", store, "--case", *files, "-o", tmp_path / "none", "--device", "cpu")
    assert command.run_evaluate_command(alone, fake_judge) == 0
    assert "0 scans. Left out" in (tmp_path / "none" / "tables.md").read_text(encoding="utf-8")


def test_a_scan_that_fails_is_told_by_the_exit_code_and_the_others_are_judged(tmp_path, store, files, capsys):
    other = tmp_path / "other.nrrd"
    write_volume(other, noisy_scan(affine(origin=CENTRE - 7), seed=5))

    def judge(card, *options):
        def segment(scan):
            if scan.name == "other":
                raise RuntimeError("boom")
            return scan_result([painted_ear("right", CENTRE)])

        return judged_route(card.name, segment, {}, True)

    chosen = parsed("--model", "tiny", "--models", store, "--case", *files, "--case", other, *files[1:],
                    "-o", tmp_path / "out", "--device", "cpu")  # fmt: skip
    assert command.run_evaluate_command(chosen, judge) == 2
    assert "tiny: 1 scans failed" in capsys.readouterr().out
    assert "| real scans | 1 | 1.000 |" in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert command.run_evaluate_command(chosen, fake_judge) == 0


def test_scans_without_landmarks_are_judged_by_their_labels(tmp_path, store, files, capsys):
    chosen = parsed("--model", "tiny", "--models", store, "--case", *files[:2], "-o", tmp_path / "out")
    chosen.device = "cpu"
    assert command.run_evaluate_command(chosen, fake_judge) == 0
    assert "scan: ear Dice 1.000" in capsys.readouterr().out


def test_landmarks_in_another_frame_fail_instead_of_being_measured(tmp_path, store, files, capsys):
    positions = json.loads((tmp_path / "landmarks.json").read_text(encoding="utf-8"))
    turned = {name: [-x, -y, z] for name, (x, y, z) in positions.items()}
    (tmp_path / "landmarks.json").write_text(json.dumps(turned), encoding="utf-8")
    chosen = parsed("--model", "tiny", "--models", store, "--case", *files, "-o", tmp_path / "out", "--device", "cpu")
    assert command.run_evaluate_command(chosen, fake_judge) == 2
    said = capsys.readouterr().out
    assert "its signs look like RAS" in said
    assert "mm," not in said


def test_an_interrupted_evaluation_says_that_it_goes_on(tmp_path, store, files, capsys):
    arguments = ("--model", "tiny", "--models", store, "--case", *files, "-o", tmp_path / "out", "--device", "cpu")

    def interrupted(card, *options):
        def segment(scan):
            raise KeyboardInterrupt

        return judged_route(card.name, segment, {}, True)

    with pytest.raises(KeyboardInterrupt):  # of which the command line says that nothing was written
        command.run_evaluate_command(parsed(*arguments), interrupted)
    assert command.run_evaluate_command(parsed(*arguments), fake_judge) == 0
    capsys.readouterr()
    assert command.run_evaluate_command(parsed(*arguments, "--views", "1"), interrupted_at_once) == 130
    assert capsys.readouterr().err == f"Cancelled; the same command goes on with what is in {tmp_path / 'out'}.\n"


def interrupted_at_once(card, *options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--card", "nothing"), "no model 'nothing'"),
        (("--card", "tiny", "--case", "a", "b"), "no outside data"),
        (("--model", "tiny"), "Say on what"),
        (("--model", "tiny", "--update", "--data", "a"), "--card NAME alone"),
        (("--model", "tiny", "--case", "a"), "got 1 files"),
        (("--model", "tiny", "--case", "a", "b"), "There is no file a"),
        (("--model", "tiny", "--anatomy", "a"), "got 1 files"),
        (("--model", "tiny", "--data", "missing.json"), "cannot be read"),
        (("--card", "tiny", "--minutes", "0"), "positive"),
        (("--card", "tiny", "--device", "abacus"), "abacus"),
        (("--card", "tiny", "--model", "tiny"), "not allowed"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path, store, capsys, arguments, word):
    assert cli.main(["evaluate", *arguments, "--models", str(store), "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def outcome_of(tmp_path, count=6, group="multi-slice, fresh"):
    ear = painted_ear("right", CENTRE)
    true = TrueEar("right", ear.segmentation, {one.name: one.position_lps for one in ear.landmarks})

    def recipe(number):
        name = f"case_{number}"
        scan = noisy_scan(affine(origin=CENTRE - 7), name=name)
        return CaseRecipe(name, group, lambda obtain: EvaluationCase(name, group, scan, (true,)), {"n": number})

    return evaluate(fake_judge(CARD), [recipe(number) for number in range(count)], tmp_path / "out")


def outcome_with_usual_ears(tmp_path):
    usual = outcome_of(tmp_path / "usual", 20, "usual: multi-slice, fresh")
    reported = outcome_of(tmp_path)
    return replace(reported, figures=(*reported.figures, *usual.figures))


def test_a_cards_figures_are_replaced_and_its_weights_are_not(tmp_path, store):
    before = load_card("tiny", store)
    written = updated_card(before, outcome_with_usual_ears(tmp_path))
    again = load_card("tiny", store)
    assert again.weights_sha256 == before.weights_sha256 == written.weights_sha256
    assert again.figures["validation_dice"] == 0.8
    assert again.figures["usual_standard_deviation"] == pytest.approx(0.012)
    group = again.figures["evaluation"]["groups"]["multi-slice, fresh"]
    assert (group["ears"], group["found"], group["dice_mean"], group["dice_sd"]) == (6, 6, 1.0, 0.0)
    page = (store / "tiny" / "MODEL_CARD.md").read_text(encoding="utf-8")
    for word in (again.weights_sha256, "Apache-2.0", "Intended use", "For tests.", "Nothing: random weights.", "DSC"):
        assert word in page
    assert "of 20 normal drawn ears" in page
    updated_card(again, outcome_with_usual_ears(tmp_path))
    assert load_card("tiny", store).figures == again.figures


def test_a_locators_page_promises_neither_a_segmentation_nor_landmarks(tmp_path):
    outcome = outcome_of(tmp_path)
    locator = replace(CARD, role="locator", network={"heads": "segmentation"})
    pages = (readable_card(card, 1000, outcome) for card in (locator, CARD))
    # The tables are the outcome's, whatever the role.
    page, segmenters_page = (page.partition("## Evaluation")[0] for page in pages)
    assert "Marking where inner ears may lie" in page
    assert "Segmentation of the labyrinth and localization" in segmenters_page
    assert "- Heatmaps: amplitude 4" in segmenters_page
    for word in ("Segmentation of the labyrinth", "oval window", "Heatmaps"):
        assert word not in page


@pytest.mark.parametrize(
    ("method", "network", "words"),
    [
        ("dual_head_unet", {}, ("Role: labyrinth and landmarks\n", "Dual-head 3D U-Net (Stebani et al. 2023)",
                                "Segmentation of the labyrinth and localization of helicotrema")),
        ("dual_head_unet", {"heads": "segmentation"}, ("Role: labyrinth\n", "Segmentation of the labyrinth in CT")),
        ("dual_head_unet", {"heads": "heatmaps"}, ("Role: landmarks\n", "Localization of helicotrema")),
        ("jsdnet", {}, ("Role: labyrinth and landmarks\n", "JSDNet (Zhang et al. 2020")),
        ("autocasnet", {}, ("Role: labyrinth\n", "AutoCasNet, 2D networks (Hussain et al. 2021) with these settings")),
    ],
)  # fmt: skip
def test_a_card_speaks_of_its_own_network(method, network, words):
    page = readable_card(replace(CARD, method=method, network=network), 1000, Outcome("tiny", ()))
    said = page.partition("## Evaluation")[0]
    for word in words:
        assert word in said
    assert ("Dual-head" in said) == (method == "dual_head_unet")
    assert ("oval window" in said) == ("landmarks" in words[0])


@pytest.mark.parametrize("name", ["clinical", "locator"])
def test_the_shipped_cards_keep_their_text(name):
    card = load_card(name)
    shown = (card.directory / "MODEL_CARD.md").read_text(encoding="utf-8")
    weights = network_size(load_network(card))
    page = readable_card(card, weights, Outcome(name, ()))
    assert page.partition("## Evaluation")[0] == shown.partition("## Evaluation")[0]


def test_what_is_taken_for_an_ear_does_not_say_what_is_usual(tmp_path):
    figures = outcome_of(tmp_path, 20, "usual: multi-slice, fresh").figures
    invented = [replace(case, false_ears=2, false_deviations=(0.3, 0.3)) for case in figures]
    assert usual_standard_deviation(invented) == usual_standard_deviation(figures)


def test_too_few_normal_ears_say_nothing_of_what_is_usual(tmp_path):
    group = "usual: multi-slice, fresh"
    assert usual_standard_deviation(outcome_of(tmp_path, 19, group).figures) is None
    assert usual_standard_deviation(outcome_of(tmp_path / "b", 20, group).figures) is not None
    assert "usual_standard_deviation" not in card_figures(outcome_of(tmp_path / "c", 20, "multi-slice, fresh"))


def test_landmarks_of_a_markups_file_are_compared_as_well(tmp_path, store, files):
    ear = painted_ear("right", CENTRE)
    write_landmarks(tmp_path / "ear.mrk.json", ear.landmarks)
    manifest = {"cases": [{"scan": "scan.nrrd", "labels": "labels.nrrd", "landmarks": "ear.mrk.json", "side": "right"}]}
    (tmp_path / "data.json").write_text(json.dumps(manifest), encoding="utf-8")
    chosen = parsed("--model", "tiny", "--models", store, "--data", tmp_path / "data.json", "-o", tmp_path / "out")
    chosen.device = "cpu"
    assert command.run_evaluate_command(chosen, fake_judge) == 0
    (kept,) = (tmp_path / "out" / "cases" / "tiny").iterdir()
    assert json.loads(kept.read_text(encoding="utf-8"))["figures"]["ears"][0]["landmarks_mm"] == pytest.approx(0.0)


def test_a_model_of_the_store_is_judged_through_the_whole_route(store):
    # Random weights, a tiny scan: what matters is that every part of the route takes what the other gives.
    rng = np.random.default_rng(1)
    scan = Volume(rng.normal(500, 300, (28, 28, 28)).astype(np.int16), affine(spacing=(0.5,) * 3), "noise")
    card = save_model(store, replace(CARD, spacing_mm=0.5), DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    judged = judged_model(card, store, "cpu", whole_volume=True)
    assert not judged.has_locator
    figures = judged.figures(EvaluationCase("noise", "no ear: noise", scan, ()))
    assert figures.ears == ()
    assert figures.seconds > 0
    stated = [value for value in deviations(figures) if np.isfinite(value)]
    assert stated
    assert all(0 <= value <= 0.5 for value in stated)


def test_a_model_of_a_run_is_judged_with_the_shipped_locator_as_segment_takes_it(tmp_path):
    card = save_model(tmp_path / "run" / "best", CARD, DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    judged = judged_model(card, None, "cpu", views=1)
    locator = load_card("locator")
    assert judged.has_locator
    assert judged.key["locator"] == locator.weights_sha256
    assert judged.looks == f"Ears were looked for with locator {locator.version}."
    scan = noisy_scan(affine(origin=CENTRE - 14, spacing=(1.0,) * 3), (28, 28, 28))
    assert judged.figures(EvaluationCase("noise", "no ear: noise", scan, ())).ears == ()


def test_the_report_says_how_ears_were_looked_for(tmp_path, store, files):
    said = judged_model(load_card("tiny", store), store, "cpu").looks
    assert said == f"Ears were looked for in the whole scan, since there is no locator in {store}."
    assert judged_model(load_card("tiny", store), None, whole_volume=True).looks.endswith("as was asked for.")

    def judge(card, *options):
        return replace(fake_judge(card), looks=said)

    chosen = parsed("--model", "tiny", "--models", store, "--case", *files, "-o", tmp_path / "out", "--device", "cpu")
    assert command.run_evaluate_command(chosen, judge) == 0
    assert said in (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")


def test_models_of_one_name_are_told_apart_by_their_runs(tmp_path, files):
    for part in ("best", "last"):
        save_model(tmp_path / "a" / part, CARD, DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    models = [tmp_path / "a" / part / "tiny" for part in ("best", "last")]
    chosen = parsed("--model", *models, "--case", *files, "-o", tmp_path / "out", "--device", "cpu")
    assert command.run_evaluate_command(chosen, fake_judge) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "cases").iterdir()) == ["a_tiny_best", "a_tiny_last"]
    rows = (tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == ["a_tiny_best", "a_tiny_last"]


def test_what_lies_outside_a_scan_counts_as_sure_in_a_scan_without_an_ear(store):
    rng = np.random.default_rng(1)
    whole = Volume(rng.normal(500, 300, (48, 48, 48)).astype(np.int16), affine(spacing=(0.35,) * 3), "noise")
    half = whole.crop((12, 12, 12), (24, 36, 36))
    deviations_of = [middle_deviation(scan, load_card("tiny", store), "cpu", 10) for scan in (whole, half)]
    assert 0 < deviations_of[1] < 0.5 * deviations_of[0]


def test_a_locator_of_the_store_is_judged(tmp_path):
    network = DualHeadUNet(DualHeadUNetConfig(widths=(4, 6)))
    locator = replace(CARD, name="locator", role="locator", spacing_mm=0.7, tile_voxels=48)
    save_model(tmp_path / "models", locator, network)
    judged = judged_model(load_card("locator", tmp_path / "models"), None, "cpu")
    ear = painted_ear("right", CENTRE)
    true = TrueEar("right", ear.segmentation, {})
    scan = noisy_scan(affine(origin=CENTRE - 14, spacing=(1.0,) * 3), (28, 28, 28))
    figures = judged.figures(EvaluationCase("noise", "whole heads", scan, (true,)))
    assert len(figures.ears) == 1
    assert figures.calibration == figures.view_calibration == NO_VOXELS
