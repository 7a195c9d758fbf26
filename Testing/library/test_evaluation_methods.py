"""Methods compared: by how many views, under which names, on which contrast, over which runs, by patient."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from InnerEarAILib.cli import main
from InnerEarAILib.contrast_matching import CONTRAST_KEY, DRAWN_EARS, contrast_curve
from InnerEarAILib.evaluation.comparison import CaseFigures, EarFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.manifest_cases import data_set_recipes
from InnerEarAILib.evaluation.method_tables import method_tables, pairs_table
from InnerEarAILib.evaluation.metrics import NAN
from InnerEarAILib.evaluation.model_names import apart
from InnerEarAILib.evaluation.paired import difference
from InnerEarAILib.evaluation.pooling import check_poolable, pooled
from InnerEarAILib.evaluation.published import published_dice, published_landmarks
from InnerEarAILib.evaluation.regions import RegionJudge, region_grid
from InnerEarAILib.evaluation.report import write_report
from InnerEarAILib.evaluation.taught import contrast_reference
from InnerEarAILib.model_card import VIEWS_KEY, ModelCard
from InnerEarAILib.model_store import load_card
from InnerEarAILib.preprocessing import resample
from InnerEarAILib.training.configuration import read_configuration
from InnerEarAILib.training.data_source import with_manifest
from InnerEarAILib.training.export import PROTOCOL_KEY, protocol_of, views_taught
from InnerEarAILib.volume import InputError
from library.labelled_balls import data_set
from library.tiny_training import tiny_table

TINY = tiny_table(iterations=2)


def card_of(name: str, folder: Path | None = None, **changes) -> ModelCard:
    """What a training of a shipped configuration on labelled scans leaves."""
    config = with_manifest(read_configuration(name), Path("set.toml"), 1)
    heatmap = config.heatmaps.final
    card = ModelCard(
        name=name,
        version="1",
        role="segmenter",
        network=config.network.to_dict(),
        spacing_mm=config.spacing_mm,
        tile_voxels=config.tile_voxels,
        overlap_voxels=4,
        heatmap_amplitude=heatmap.amplitude,
        heatmap_spread_voxels=heatmap.spread,
        region_mm=40.0,
        trained_on="Labelled scans.",
        validated_on="Others.",
        limits="For tests.",
        licence="Apache-2.0",
        library_version="0.1.0",
        figures={PROTOCOL_KEY: {**protocol_of(config), "began_with": ""}, VIEWS_KEY: views_taught(config)},
        method=config.method,
        directory=folder / name if folder else None,
    )
    return replace(card, **changes)


def case_of(name: str, dice: float, patient: str = "", group: str = "Clinic", side: str = "left") -> CaseFigures:
    numbers = {entry.name: NAN for entry in EarFigures.__dataclass_fields__.values() if entry.type == "float"}
    ear = EarFigures(**{**numbers, "side": side, "found": True, "side_right": None, "flags": (), "dice": dice})
    return CaseFigures(name, group, "", (ear,), 0, (), 1.0, ((3, 1, 0.5),) * 8, patient=patient)


@pytest.mark.parametrize(
    ("name", "views"),
    [("gold", 10), ("base", 10), ("jsdnet", 10), ("jsdnet_unaugmented", 1), ("autocasnet", 1), ("unet_2d", 1)],
)
def test_a_model_is_shown_as_many_views_as_it_was_taught(name, views):
    assert card_of(name).views_taught == views


def test_views_are_told_by_the_training_and_not_by_the_name():
    assert card_of("gold", figures={VIEWS_KEY: 1}).views_taught == 1
    assert card_of("autocasnet", figures={}).views_taught == 10
    assert load_card("clinical").views_taught == 10


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two folds of a network and two of an unaugmented one, trained on three balls for two iterations."""
    folder = tmp_path_factory.mktemp("runs")
    data = data_set(folder / "balls", 3)
    for name, augmentation in (("turned", "beta"), ("upright", "none")):
        table = TINY.replace('name = "tiny"', f'name = "{name}"') + f'augmentation = "{augmentation}"\n'
        (folder / f"{name}.toml").write_text(table)
        for fold in ("1", "2"):
            run = str(folder / f"{name}-fold{fold}")
            chosen = ["--data", str(data), "--fold", fold, "--device", "cpu", "-o", run]
            assert main(["train", str(folder / f"{name}.toml"), *chosen]) == 0
    return folder


def evaluated(runs, out, names, *more):
    models = [str(runs / f"{name}-fold{fold}" / "best" / name) for name in names for fold in (1, 2)]
    return main(["evaluate", "--model", *models, "--data", str(runs / "balls" / "balls.toml"), "--device", "cpu",
                 "-o", str(out), *more])  # fmt: skip


def held_out(runs, name):
    return [
        load_card(name, runs / f"{name}-fold{fold}" / "best").figures["validated_on_cases"]["Balls"][0]
        for fold in (1, 2)
    ]


@pytest.mark.usefixtures("one_thread")
def test_runs_of_one_configuration_are_pooled_to_one_method(tmp_path, runs):
    assert evaluated(runs, tmp_path / "out", ["turned", "upright"], "--pool") == 0
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").splitlines()))
    told = [(row["model"], row["case"]) for row in rows]
    assert len(set(told)) == len(told)
    assert {name for name, _ in told} == {"turned", "upright"}
    # Runs of both configurations hold out the same balls, each fold its own.
    assert {case for name, case in told if name == "turned"} == set(held_out(runs, "turned"))
    tables = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert "Runs joined: turned-fold1_turned, turned-fold2_turned" in tables
    assert "### Runs on Balls, validation" in tables
    methods = tables.partition("### Methods\n")[2].splitlines()
    views = {row.split(" | ")[0].strip("| "): row.split(" | ")[3] for row in methods if "| labyrinth" in row}
    assert views == {"turned": "10", "upright": "1"}


@pytest.mark.usefixtures("one_thread")
def test_views_that_are_asked_for_are_those_of_all(tmp_path, runs):
    assert evaluated(runs, tmp_path / "out", ["turned"], "--views", "1") == 0
    tables = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert len(re.findall(r"tile 16, cube of \d+\.\d mm \| 1 \|", tables)) == 2


@pytest.mark.usefixtures("one_thread")
def test_scans_are_matched_to_the_contrast_that_the_card_holds(tmp_path, runs):
    card = load_card("turned", runs / "turned-fold1" / "best")
    reference = contrast_reference(card)
    assert len(card.figures[CONTRAST_KEY]) == len(DRAWN_EARS.quantiles)
    assert np.abs(np.subtract(reference.quantiles, DRAWN_EARS.quantiles)).max() > 0.5
    (recipe, *_) = data_set_recipes(runs / "balls" / "balls.toml")
    case = recipe.make(None)
    values = resample(case.scan, region_grid(case, card))
    seen = RegionJudge(card, "cpu", contrast="matched")._prepared(case.name, values)
    np.testing.assert_array_equal(seen, contrast_curve([values], reference).applied(values))
    assert evaluated(runs, tmp_path / "out", ["turned"], "--views", "1", "--contrast", "clusters") == 0


def test_contrast_of_labelled_scans_that_no_card_holds_is_not_matched_to():
    taught = card_of("gold", figures={"trained_on_cases": {"Clinic": ["A01"]}})
    with pytest.raises(InputError, match="gold does not hold the contrast"):
        contrast_reference(taught)
    assert contrast_reference(card_of("gold", figures={})) == DRAWN_EARS


def test_models_of_one_name_are_told_apart(tmp_path):
    folders = [
        tmp_path / run / part / name
        for run, part, name in (
            ("a", "best", "gold"), ("b", "best", "gold"), ("b", "last", "gold"), ("b", "best", "base")
        )
    ]  # fmt: skip
    cards = [card_of(folder.name, folder.parent) for folder in folders]
    assert apart(cards) == ["a_gold", "b_gold_best", "b_gold_last", "base"]
    assert apart([*cards[:1], card_of("gold", tmp_path / "models")]) == ["a_gold", "models_gold"]
    assert apart(cards[:1] * 2) == ["a_gold_best", "a_gold_best_2"]


def run_outcome(folder, fold, part="best", *cases):
    card = card_of("gold", folder / f"gold-fold{fold}" / part)
    return Outcome(f"gold-fold{fold}", tuple(cases), card=card, taught=4 - len(cases), views=10)


def test_an_ear_of_a_pooled_method_has_the_mean_of_the_runs_that_held_it_out(tmp_path):
    first = run_outcome(tmp_path, 1, "best", case_of("A", 0.8, "patient 1"), case_of("B", 0.9))
    second = run_outcome(tmp_path, 2, "best", case_of("A", 0.6, "patient 1"), case_of("C", 0.5))
    (one,) = pooled([first, second])
    assert (one.model, one.taught, one.views) == ("gold", 1, 10)
    assert {case.name: pytest.approx(case.ears[0].dice) for case in one.figures} == {"A": 0.7, "B": 0.9, "C": 0.5}
    assert one.figures[0].patient == "patient 1"
    assert one.figures[0].calibration[0] == (6, 2, 1.0)
    text = write_report(tmp_path / "out", [one])[2].read_text(encoding="utf-8")
    assert "### Runs on Clinic" in text
    assert "Rotated views of each ear: 10." in text
    (runs,) = (table for table in method_tables([one]) if table.title == "Runs on Clinic")
    assert runs.rows[0][:4] == ("gold", "2", "2, 2", "0.700 ± 0.212 (0.700)")


def test_best_and_last_weights_are_pooled_apart_and_a_single_run_is_left(tmp_path):
    outcomes = [run_outcome(tmp_path, fold, part) for part in ("best", "last") for fold in (1, 2)]
    assert [one.model for one in pooled(outcomes)] == ["gold_best", "gold_last"]
    assert pooled(outcomes[:1]) == outcomes[:1]


def test_models_that_only_share_a_name_are_not_pooled(tmp_path):
    cards = [card_of("gold", tmp_path / "a"), card_of("gold", tmp_path / "b", spacing_mm=0.2)]
    with pytest.raises(InputError, match="no runs of one configuration"):
        check_poolable(cards)
    check_poolable(cards[:1] * 2)


def test_the_two_ears_of_a_patient_count_once():
    first = [case_of(f"{n}{side}", 0.8 + 0.01 * n, f"patient {n}", side=side) for n in range(6) for side in "LR"]
    second = [replace(case, ears=(replace(case.ears[0], dice=case.ears[0].dice - 0.1),)) for case in first]
    apart_by = difference(first, second, "dice")
    assert (apart_by.ears, apart_by.patients) == (12, 6)
    assert apart_by.mean == pytest.approx(0.1)
    assert apart_by.p_value == pytest.approx(2 / 2**6)
    alone = difference([replace(case, patient="") for case in first], second, "dice")
    assert alone.patients == 12
    table = pairs_table("Clinic", [(Outcome("a", ()), first), (Outcome("b", ()), second)], "DSC")
    assert table.rows[0][1].endswith("p 0.031, adjusted 0.031, n 6 (12 ears)")


def test_a_patient_counts_as_much_with_one_ear_as_with_two():
    first = [case_of("a", 0.9, "A"), case_of("b", 0.8, "A"), case_of("c", 0.7, "B"), case_of("d", 0.6, "C")]
    second = [case_of("a", 0.8, "A"), case_of("b", 0.5, "A"), case_of("c", 0.1, "B"), case_of("d", NAN, "C")]
    apart_by = difference([*first, case_of("e", 0.9, "D")], second, "dice")  # of D only the one is known
    assert (apart_by.ears, apart_by.patients) == (3, 2)
    assert apart_by.mean == pytest.approx(((0.1 + 0.3) / 2 + 0.6) / 2)
    assert apart_by.interval[0] <= apart_by.mean <= apart_by.interval[1]


def test_methods_without_an_ear_in_common_are_not_told_apart():
    apart_by = difference([case_of("a", 0.9)], [case_of("b", 0.8), case_of("a", 0.8, side="right")], "dice")
    assert (apart_by.ears, apart_by.patients, apart_by.p_value) == (0, 0, 1.0)
    assert np.isnan([apart_by.mean, *apart_by.interval]).all()


def test_patients_of_a_data_set_come_into_the_figures(tmp_path):
    path = data_set(tmp_path / "balls", 2)
    path.write_text(path.read_text(encoding="utf-8") + '\npatient = "17"\n', encoding="utf-8")
    nobody, told = data_set_recipes(path)
    assert told.patient == "patient 17"
    assert nobody.patient.startswith("scan ")


@pytest.mark.parametrize(
    ("name", "dice", "landmarks"),
    [
        ("gold", "0.94 ± 0.01 (9 clinical)", "5.2 ± 2.8 (9 clinical)"),
        ("base", "0.93 (9 clinical)", "5.6 (9 clinical)"),
        ("segmentation_only", "0.93 (9 clinical)", ""),
        ("heatmaps_only", "", "6.3 (9 clinical)"),
        ("autocasnet_residual", "0.871 ± 0.126 (17 micro-CT)", ""),
        ("unet_2d", "0.884 ± 0.076 (17 micro-CT)", ""),
    ],
)
def test_published_figures_are_those_of_the_papers(name, dice, landmarks):
    pytest.importorskip("monai")
    for card in (card_of(name), card_of(name, figures={})):
        assert (published_dice(card), published_landmarks(card)) == (dice, landmarks)


def test_a_method_that_differs_from_the_papers_has_no_figure_of_it():
    gold = card_of("gold")
    protocol = gold.figures[PROTOCOL_KEY]
    shorter = {**protocol, "optimisation": {**protocol["optimisation"], "iterations": 700}}
    others = [
        replace(gold, network={**gold.network, "widths": [16, 32, 64, 128, 160]}),
        replace(gold, network={**gold.network, "heads": "segmentation"}),
        replace(gold, spacing_mm=0.35),
        replace(gold, tile_voxels=64),
        replace(gold, method="jsdnet", network={}),
        replace(gold, figures={PROTOCOL_KEY: shorter}),
        replace(gold, figures={PROTOCOL_KEY: {**protocol, "began_with": "clinical 1"}}),
        replace(gold, figures=card_of("base").figures),
        replace(gold, name="mine"),
    ]
    assert [published_dice(card) + published_landmarks(card) for card in others] == [""] * len(others)
