"""Methods side by side: their tables, figures and page."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from InnerEarAILib.evaluation import regions
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.figures import method_figures
from InnerEarAILib.evaluation.manifest_cases import data_set_recipes
from InnerEarAILib.evaluation.method_tables import MEASURES, method_tables, pairs_table
from InnerEarAILib.evaluation.region_outcomes import RegionOptions, judged_on_regions
from InnerEarAILib.evaluation.report import write_report
from InnerEarAILib.evaluation.surfaces import can_draw
from InnerEarAILib.landmarks import LANDMARK_NAMES
from library.ball_reader import CARD, Reader
from library.labelled_balls import data_set


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    return data_set_recipes(data_set(tmp_path_factory.mktemp("balls"), 3))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, balls):
    folder = tmp_path_factory.mktemp("judged")
    card = replace(CARD, directory=folder / "run" / "best" / "reader")
    second = replace(card, name="unet_2d", method="autocasnet", network={"block": "plain", "planes": ["axial"]})
    (folder / "run").mkdir()
    (folder / "run" / "curves.png").write_bytes(b"\x89PNG")
    judged = []
    with pytest.MonkeyPatch.context() as patch:
        for one, localises in ((card, True), (second, False)):
            patch.setattr(regions, "load_network", lambda card, device, localises=localises: Reader(True, localises))
            judged.append(judged_on_regions(one, balls, folder / "out", RegionOptions("cpu", views=1)))
    return judged


def test_report_has_methods_side_by_side_and_opens_alone(tmp_path, outcomes):
    files = {file.name: file.read_text(encoding="utf-8") for file in write_report(tmp_path / "out", outcomes)}
    rows = list(csv.DictReader(files["cases.csv"].splitlines()))
    assert [(row["model"], row["case"]) for row in rows] == [
        (model, f"b{n}") for model in ("reader", "unet_2d") for n in range(3)
    ]
    summary = {(row["model"], row["figure"]): row for row in csv.DictReader(files["summary.csv"].splitlines())}
    own = [ear.dice for case in outcomes[0].figures for ear in case.ears]
    assert float(summary["reader", "dice"]["mean"]) == pytest.approx(np.mean(own), rel=1e-4)
    assert float(summary["reader", "dice"]["sd"]) == pytest.approx(np.std(own, ddof=1), rel=1e-3)
    assert ("unet_2d", "helicotrema_mm") not in summary
    assert "0.884 ± 0.076" not in files["tables.md"]  # its voxels are not the paper's
    page = files["index.html"]
    assert "Methods on Balls" in page
    assert "data:image/png;base64" in page
    assert "src=" not in page.replace('src="data:', "")
    if can_draw():
        assert page.count("mean of Balls") == 4  # picture and caption of each model


def test_tables_state_what_was_trained_and_hold_every_measure(outcomes):
    conditions, side_by_side, *tests = method_tables(outcomes)
    assert [row[0] for row in conditions.rows] == ["reader", "unet_2d"]
    assert conditions.rows[0][3:5] == ("1", CARD.trained_on)
    assert side_by_side.columns[2:] == tuple(MEASURES)
    assert side_by_side.rows[1][-1] == "–"
    assert [table.title for table in tests] == ["Tests on Balls: DSC", "Tests on Balls: HD (mm)"]
    assert tests[0].columns == ("model", "unet_2d")
    assert tests[0].rows == (("reader", "+0.000 [+0.000, +0.000], p 1, adjusted 1, n 3"),)
    assert "comparisons in this table, 1 (Holm 1979)" in tests[0].note


def test_differences_are_marked_by_wilcoxons_test(outcomes):
    def shifted(outcome, by):
        case = outcome.figures[0]
        cases = tuple(
            replace(case, name=f"c{n}", patient="", ears=(replace(case.ears[0], dice=0.8 + 0.01 * n + by),))
            for n in range(8)
        )
        return replace(outcome, figures=cases)

    first, better, same = shifted(outcomes[0], 0.0), shifted(outcomes[1], 0.02), shifted(outcomes[1], 0.0)
    table = next(one for one in method_tables([first, better, same]) if one.title == "Methods on Balls")
    assert [row[2].endswith("*") for row in table.rows] == [False, True, False]
    tests = pairs_table("Balls", [(one, one.figures) for one in (first, better, same)], "DSC")
    assert tests.rows[0][1:] == (
        "-0.020 [-0.020, -0.020], p 0.0078, adjusted 0.023, n 8",
        "+0.000 [+0.000, +0.000], p 1, adjusted 1, n 8",
    )
    assert tests.rows[1][1:] == ("", "+0.020 [+0.020, +0.020], p 0.0078, adjusted 0.023, n 8")


def test_figures_of_methods_have_a_point_an_ear_and_a_row_a_method_that_has_the_figure(outcomes):
    drawn = method_figures({outcome.model: outcome.figures for outcome in outcomes})
    assert list(drawn) == ["Methods: Dice", "Methods: landmarks (mm)"]
    assert ["unet_2d" in svg for svg in drawn.values()] == [True, False]
    assert method_figures({"m": ()}) == {}


def test_outcome_without_a_card_is_no_method():
    assert method_tables([Outcome("m", ())]) == ()
    assert len(LANDMARK_NAMES) == 3
