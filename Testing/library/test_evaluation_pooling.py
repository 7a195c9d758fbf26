"""Methods of different ears, and runs of different lengths, are told apart in the tables and before the judging."""

from __future__ import annotations

from dataclasses import replace

from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.method_tables import DIFFERENT_EARS, SHARED_EARS, method_tables
from InnerEarAILib.evaluation.metrics import NAN
from InnerEarAILib.evaluation.pooling import pooled, told_of_runs
from library.test_evaluation_methods import card_of, case_of


def side_by_side(*methods):
    outcomes = [Outcome(f"m{number}", tuple(cases)) for number, cases in enumerate(methods)]
    (table,) = (table for table in method_tables(outcomes) if table.title == "Methods on Clinic")
    return table


def runs_of(folder, *counts, part="last"):
    cards = [card_of("gold", folder / f"gold-fold{fold}" / part) for fold in range(len(counts))]
    return [replace(card, version=f"0.1.0-{count}") for card, count in zip(cards, counts, strict=True)]


def test_methods_of_different_ears_say_how_many_they_share():
    first = [case_of("A", 0.8), case_of("B", 0.9)]
    table = side_by_side(first, [case_of("B", 0.7), case_of("C", 0.7), case_of("D", 0.7)])
    assert table.columns[:3] == ("model", "ears", SHARED_EARS)
    assert [row[:3] for row in table.rows] == [("m0", "2", "2"), ("m1", "3", "1")]
    assert table.note.endswith(DIFFERENT_EARS)
    assert all(len(row) == len(table.columns) for row in table.rows)
    same = side_by_side(first, first)
    assert SHARED_EARS not in same.columns
    assert DIFFERENT_EARS not in same.note


def test_ears_of_the_same_case_on_other_sides_are_different_ears():
    table = side_by_side([case_of("A", 0.8)], [case_of("A", 0.8, side="right")])
    assert [row[2] for row in table.rows] == ["1", "0"]


def test_runs_of_different_lengths_are_listed_and_warned_of(tmp_path):
    cards = runs_of(tmp_path, 75000, 74000, 30)
    expected = "3 runs of 75,000, 74,000, 30 iterations, which differ much: train the short ones to their end, or"
    assert told_of_runs(cards)[0].startswith(f"gold: {expected}")
    outcomes = [Outcome(f"r{n}", (case_of("A", 0.8),), card=card) for n, card in enumerate(cards)]
    (one,) = pooled(outcomes)
    assert one.card.trained_on.startswith(expected)


def test_runs_of_one_length_are_listed_without_a_warning_and_a_single_run_is_not(tmp_path):
    assert told_of_runs(runs_of(tmp_path, 75000, 70000)) == ["gold: 2 runs of 75,000, 70,000 iterations."]
    assert told_of_runs(runs_of(tmp_path, 75000)) == []
    (best,) = told_of_runs(runs_of(tmp_path, 75000, 20000, part="best"))
    assert "best weights may come early" in best


def test_a_mean_over_runs_says_of_how_many_ears_it_is(tmp_path):
    missing = case_of("B", NAN)
    cases = ((case_of("A", 0.8), case_of("B", 0.6)), (case_of("A", 0.6), missing), (missing,))
    outcomes = [
        Outcome(f"r{n}", own, card=card)
        for n, (own, card) in enumerate(zip(cases, runs_of(tmp_path, 9, 9, 9), strict=True))
    ]
    (table,) = (table for table in method_tables(pooled(outcomes)) if table.title == "Runs on Clinic")
    assert table.rows[0][2:4] == ("2, 2, 1", "0.650 ± 0.071 (0.650) (n 2, 1, 0)")
    assert table.rows[0][4] == "–"
