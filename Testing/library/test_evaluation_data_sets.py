"""The command that judges models on the trainer's data sets."""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace

import pytest
import torch

from InnerEarAILib.evaluation import command
from InnerEarAILib.model_store import load_card, save_model
from InnerEarAILib.networks.autocasnet import AutoCasNet, AutoCasNetConfig
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.volume import InputError
from library.ball_reader import CARD
from library.labelled_balls import data_set


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    command.add_evaluate_command(parser.add_subparsers())
    return parser.parse_args(["evaluate", *map(str, arguments)])


def test_models_of_any_method_are_judged_by_one_command(tmp_path, capsys):
    torch.manual_seed(1)
    path = data_set(tmp_path / "balls", 1)
    save_model(tmp_path / "store", replace(CARD, name="dual"), DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    save_model(tmp_path / "run" / "best", replace(CARD, name="flat"), AutoCasNet(AutoCasNetConfig(widths=(4, 6))))
    models = ("dual", tmp_path / "run" / "best" / "flat")
    chosen = parsed("--model", *models, "--models", tmp_path / "store", "--data", path, "--views", 1, "--device", "cpu",
                    "-o", tmp_path / "out")  # fmt: skip
    assert command.run_evaluate_command(chosen) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["model"], row["group"]) for row in rows] == [("dual", "Balls"), ("flat", "Balls")]
    assert load_card("flat", tmp_path / "run" / "best").method == "autocasnet"


def test_what_the_time_did_not_suffice_for_is_said_of_data_sets_as_well(tmp_path, capsys):
    path = data_set(tmp_path / "balls", 2)
    save_model(tmp_path / "store", replace(CARD, name="dual"), DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    chosen = parsed("--model", "dual", "--models", tmp_path / "store", "--data", path, "--views", 1, "--device", "cpu",
                    "--minutes", 1e-9, "-o", tmp_path / "out")  # fmt: skip
    assert command.run_evaluate_command(chosen) == 0
    assert "dual: 2 scans remain; the same command goes on with them." in capsys.readouterr().out
    (tmp_path / "balls" / "b0.nrrd").write_text("no scan")
    chosen.minutes = None
    assert command.run_evaluate_command(chosen) == 2
    assert "dual: 1 scans failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "a.toml", "b.json"), "goes with others of its kind alone"),
        (("--case", "s.nrrd", "l.nrrd", "--contrast", "matched"), "--contrast goes with data sets"),
        (("--case", "s.nrrd", "l.nrrd", "--pool"), "--pool goes with data sets"),
        (("--data", "a.toml", "--whole-volume"), "--whole-volume: not with data sets of the trainer"),
        (("--data", "a.toml", "--drawn", "d", "--scanner", "micro"), "--drawn, --scanner: not with data sets"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(tmp_path, arguments, words):
    with pytest.raises(InputError, match=words):
        command.check_arguments(parsed("--model", "m", "-o", tmp_path, *arguments))
