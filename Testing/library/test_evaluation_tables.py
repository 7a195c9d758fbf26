"""The evaluation's tables and report: what was measured stands in them, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest

from InnerEarAILib.evaluation.cases import (
    CaseRecipe,
    read_case,
    turned,
    write_case,
)
from InnerEarAILib.evaluation.comparison import compare
from InnerEarAILib.evaluation.evaluate import evaluate
from InnerEarAILib.evaluation.groups import orientation_changes
from InnerEarAILib.evaluation.method_tables import pairs_table
from InnerEarAILib.evaluation.report import write_report
from InnerEarAILib.evaluation.tables import is_flagged, tables
from InnerEarAILib.landmarks import LANDMARK_NAMES
from library.evaluated_cases import CENTRE, beside, case, judged, recipe, true_ear
from library.scans import painted_ear, scan_result


def outcome_of_many(tmp_path):
    def answer(scan):
        if scan.name == "knee":
            return scan_result([painted_ear("left", CENTRE)])
        shift = {"good": 0.1, "fair": 0.5, "turned": 0.3}[scan.name]
        return scan_result([painted_ear("right", beside(shift, 0, 0))])

    good = recipe("good")
    copy = CaseRecipe("turned", "turned 40° oblique", lambda obtain: replace(obtain(good), name="turned",
        original="good", scan=replace(obtain(good).scan, name="turned")), {"turned": 1})  # fmt: skip
    knee = recipe("knee", "no ear: knee", ears=())
    return evaluate(judged(answer), [knee, copy, good, recipe("fair")], tmp_path)


def test_tables_say_what_was_measured(tmp_path):
    outcome = outcome_of_many(tmp_path)
    made = {table.title: table for table in tables(outcome.figures)}
    assert list(made) == [
        "Segmentation",
        "Landmarks",
        "Voxels",
        "Detection",
        "Uncertainty",
        "Calibration",
        "Orientation",
    ]
    groups = [row[0] for row in made["Detection"].rows]
    assert groups == ["multi-slice, fresh", "turned 40° oblique", "no ear: knee"]
    assert made["Detection"].rows[2][2:8] == ("none to find", "–", "–", "1", "–", "–")
    assert made["Detection"].rows[0][7] == "2 of 2"
    assert made["Landmarks"].rows[0][2].startswith("0.30 ± 0.28 (0.30)")
    assert made["Uncertainty"].rows[2][3] == "1.0"
    assert "Spearman" not in made["Uncertainty"].note  # two ears tell no order
    ((original, _, dice, change),) = orientation_changes(outcome.figures)
    assert original == "good"
    assert change < 0 < dice
    text = made["Segmentation"].markdown()
    assert text.count("\n| ") == 4
    assert all(line.count("|") == 10 for line in text.splitlines() if line.startswith("|"))


def ear_of(dice, deviation):
    figures = compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0)
    return replace(figures.ears[0], dice=dice, mean_standard_deviation=deviation)


def test_the_uncertainty_table_says_whether_the_signal_tells_how_good_an_ear_is():
    ears = [ear_of(0.96, 7e-4), ear_of(0.94, 9e-4), ear_of(0.8, 3e-3), replace(ear_of(0.0, 1e-5), found=False)]
    figures = compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0)
    cases = [replace(figures, name=str(number), ears=(ear,)) for number, ear in enumerate(ears)]
    turned = replace(figures, name="turned", group="turned 40° oblique", ears=(ear_of(0.96, 1e-1),))
    (note,) = (table.note for table in tables([*cases, turned]) if table.title == "Uncertainty")
    assert "3 ears" in note
    assert "-1.00" in note


def test_a_mean_over_fewer_ears_than_its_rows_says_so():
    figures = compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0)
    missed = replace(figures.ears[0], hausdorff_mm=float("nan"), dice=0.0)
    cases = [replace(figures, name=str(n), ears=(ear,)) for n, ear in enumerate([*figures.ears * 3, missed])]
    (table,) = (table for table in tables(cases) if table.title == "Segmentation")
    ((_, ears, dsc, _, _, hausdorff, *_),) = table.rows
    assert ears == "4"
    assert hausdorff.endswith(" (n 3)")
    assert "(n" not in dsc
    assert "n: ears that have the figure" in table.note


def test_the_detection_table_says_whether_poor_results_are_flagged():
    figures = compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0)
    silent = replace(figures.ears[0], flags=(), mean_standard_deviation=1e-4)
    ears = [replace(silent, dice=0.8), replace(silent, dice=0.7, flags=("Odd.",)), replace(silent, dice=0.95)]
    cases = [replace(figures, name=str(number), ears=(ear,)) for number, ear in enumerate(ears)]
    (note,) = (table.note for table in tables(cases) if table.title == "Detection")
    assert "1 of the 2 found ears with a DSC below 0.9, and 0 of the 1 others" in note
    unsure = replace(figures, name="unsure", ears=(replace(silent, dice=0.6, mean_standard_deviation=1.0),))
    turned = replace(unsure, name="turned", group="turned 40° oblique")
    (note,) = (
        table.note for table in tables([*cases, *usual_cases(silent), unsure, turned]) if table.title == "Detection"
    )
    assert "2 of the 3 found ears with a DSC below 0.9, and 0 of the 1 others" in note


def test_landmarks_that_a_malformed_ear_lacks_are_counted_where_they_are_named(tmp_path):
    whole = true_ear()
    lacking = replace(whole, landmarks={"oval window": whole.landmarks["oval window"]}, absent=LANDMARK_NAMES[::2])
    answer = painted_ear("right", CENTRE)
    unplaced = replace(answer, landmarks=(replace(answer.landmarks[0], position_lps=None), *answer.landmarks[1:]))
    malformed = case(ears=(lacking,))
    write_case(tmp_path / "case.npz", malformed)
    cases = [
        compare(read_case(tmp_path / "case.npz"), scan_result([found]), 0.0) for found in (answer, unplaced, unplaced)
    ]
    assert [ear.invented_landmarks for figures in cases for ear in figures.ears] == [2, 1, 1]
    assert cases[0].ears[0].landmarks_mm == pytest.approx(0.0, abs=1e-9)
    missed = compare(malformed, scan_result([]), 0.0)
    (table,) = (one for one in tables([*cases, missed]) if one.title == "Detection")
    assert dict(zip(table.columns, table.rows[0], strict=True))["landmarks invented"] == "4 of 6"
    (table,) = (one for one in tables([compare(case(), scan_result([answer]), 0.0)]) if one.title == "Detection")
    assert dict(zip(table.columns, table.rows[0], strict=True))["landmarks invented"] == "–"
    assert turned(malformed, np.eye(3), "turned", "turned").ears[0].absent == LANDMARK_NAMES[::2]


def usual_cases(ear, count=20):
    figures = compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0)
    return [replace(figures, name=f"usual {n}", group="usual: multi-slice, fresh", ears=(ear,)) for n in range(count)]


def test_ears_that_say_what_is_usual_stand_in_no_table(tmp_path):
    silent = ear_of(0.95, 1e-4)
    case_alone = replace(compare(case(), scan_result([painted_ear("right", CENTRE)]), 0.0), ears=(silent,))
    alone, with_usual = (
        {one.title: one.rows for one in tables(cases)} for cases in ([case_alone], [case_alone, *usual_cases(silent)])
    )
    assert alone == with_usual


def test_a_flag_by_another_cards_threshold_does_not_count_where_the_threshold_is_known():
    by_another_card = replace(ear_of(0.95, 1e-3), flags=("The network is unusually unsure (mean …).",))
    assert is_flagged(by_another_card, None)
    assert not is_flagged(by_another_card, 2e-3)
    assert is_flagged(by_another_card, 5e-4)
    assert is_flagged(replace(by_another_card, flags=("Odd.", *by_another_card.flags)), 2e-3)


def test_report_is_files_that_hold_the_figures(tmp_path):
    pytest.importorskip("matplotlib")
    outcome = outcome_of_many(tmp_path)
    files = write_report(tmp_path, [outcome])
    assert [file.name for file in files] == ["cases.csv", "summary.csv", "tables.md", "index.html"]
    rows = files[0].read_text(encoding="utf-8").splitlines()
    assert len(rows) == 1 + 4
    assert all(len(row.split(",")) >= len(rows[0].split(",")) for row in rows)
    page = files[3].read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    again = [file.read_bytes() for file in files]
    assert [file.read_bytes() for file in write_report(tmp_path, [outcome])] == again


def test_two_models_are_compared_on_the_ears_that_both_have(tmp_path):
    first = outcome_of_many(tmp_path / "a")
    second = evaluate(judged(), [recipe("good"), recipe("fair"), recipe("new")], tmp_path / "b")
    group = first.figures[0].group
    table = pairs_table(group, [(first, first.figures), (second, second.figures)], "DSC")
    assert table.columns == ("model", second.model)
    ((_, cell),) = table.rows
    assert cell.endswith("p 0.5, adjusted 0.5, n 2")
