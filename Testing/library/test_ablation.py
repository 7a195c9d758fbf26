"""The catalogue of ablations, and the command that runs, resumes and collects them."""

from __future__ import annotations

import csv
import sys
from collections import Counter

import numpy as np
import pytest

from InnerEarAILib.cli import main
from InnerEarAILib.evaluation import ablation
from InnerEarAILib.evaluation.ablation import AblationPlan, ablate, run_configuration, told_from_base
from InnerEarAILib.evaluation.ablation_report import ablation_table
from InnerEarAILib.evaluation.catalogue import BASE, SINGLE_TASKS, VARIATIONS, variation, variations_of
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.training.configuration import read_configuration, read_table
from library.labelled_balls import ball, data_set
from library.tiny_training import tiny_table
from library.unwritable import Unwritable

TINY = tiny_table(iterations=4)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def arguments(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    data, test = data_set(tmp_path / "balls", 3), data_set(tmp_path / "others", 1, "Others", first=100)
    return ["ablate", "--config", str(tmp_path / "tiny.toml"), "--data", str(data), "--test", str(test),
            "--budget", "2", "--device", "cpu", "-o", str(tmp_path / "out")]  # fmt: skip


def test_catalogue_has_the_papers_43_variations():
    assert len(VARIATIONS) == 43
    assert len({one.name for one in (*VARIATIONS, *SINGLE_TASKS)}) == 45
    assert Counter(one.aspect for one in VARIATIONS) == {
        "normalisation": 1,
        "loss": 4,
        "deep supervision": 1,
        "augmentation": 2,
        "activation": 5,
        "attention gates": 3,
        "accumulation": 4,
        "heatmap schedule": 3,
        "depth": 3,
        "width": 5,
        "optimiser": 3,
        "weight decay": 5,
        "AdamW averages": 4,
    }
    assert sum(one.ours for one in VARIATIONS) == 23
    accumulations = {one.changes["optimisation"]["accumulation"] for one in VARIATIONS if one.aspect == "accumulation"}
    base = read_configuration("base").optimisation.accumulation
    assert accumulations | {base} == {1, 5, 10, 15, 20}


@pytest.mark.parametrize("one", [*VARIATIONS, *SINGLE_TASKS], ids=lambda one: one.name)
def test_variation_is_one_difference_to_the_base(tmp_path, one):
    plan = AblationPlan(read_table("base"), tmp_path / "set.toml")
    base, varied = run_configuration(plan, variation(BASE), 1), run_configuration(plan, one, 1)
    assert varied.name == one.name
    parts = ("network", "loss", "heatmaps", "optimisation", "data")
    (part,) = [name for name in parts if getattr(base, name) != getattr(varied, name)]
    assert list(one.changes) == [part]
    assert varied.tile_voxels % varied.network.size_multiple == 0


def test_widths_are_those_of_the_base_varied():
    changed = {one.name: one.changes["network"]["widths"] for one in variations_of((16, 32, 64, 96, 128))
               if "widths" in one.changes.get("network", {})}  # fmt: skip
    assert changed["half_width"] == (8, 16, 32, 48, 64)
    assert changed["one_and_a_half_width"] == (24, 48, 96, 144, 192)
    assert (changed["three_levels"], changed["six_levels"]) == ((16, 32, 64), (16, 32, 64, 96, 128, 128))
    assert [one.changes["network"]["widths"] for one in variations_of((4, 6)) if one.name == "three_levels"] == [
        (4, 6, 6)
    ]


def test_variations_that_the_base_already_is_are_told_from_those_that_differ(tmp_path):
    (tmp_path / "mine.toml").write_text('like = "gold"\ntile_voxels = 80\n[data]\nkind = "manifest"\n')
    plan = AblationPlan(read_table(tmp_path / "mine.toml"), tmp_path / "set.toml", budget=2)
    differing, why_not = told_from_base(plan, [variation(BASE), *VARIATIONS])
    same = [name for name, reason in why_not.items() if reason == "what is varied is so itself"]
    assert sorted(same) == ["accumulation_15", "augmentation_beta", "gates_both", "heatmaps_gamma", "mish"]
    assert why_not["six_levels"] == "tile_voxels must be a multiple of 32, got 80"
    assert len(differing) == 44 - 6
    assert differing[0].name == BASE


def test_what_is_not_run_is_said(tmp_path, arguments, capsys):
    (tmp_path / "tiny.toml").write_text(TINY.replace("widths = [4, 6]", 'widths = [4, 6]\nactivation = "prelu"'))
    assert main([*arguments, "--only", "prelu"]) == 2
    assert "Not run: prelu (what is varied is so itself). Name other" in capsys.readouterr().err
    assert main([*arguments, "--only", "base", "prelu"]) == 0
    assert "Not run: prelu" in capsys.readouterr().out
    assert "Not run: prelu" in (tmp_path / "out" / "ablation.md").read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "runs" / "prelu-fold1").exists()


def test_unknown_variation_is_refused():
    with pytest.raises(ValueError, match=r"There is no variation “deeper”; there are base, batch_norm"):
        variation("deeper")


def test_base_without_labelled_scans_is_refused(tmp_path):
    with pytest.raises(ValueError, match="kind manifest"):
        run_configuration(AblationPlan(read_table("locator"), tmp_path), variation(BASE), 1)


def test_ablations_are_run_collected_and_not_run_again(tmp_path, arguments, capsys, monkeypatch):
    chosen = [*arguments, "--only", "base", "prelu"]
    assert main(chosen) == 0
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "ablation.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["variation"], row["group"], row["change"]) for row in rows] == [
        ("base", "validation", ""),
        ("base", "Others", ""),
        ("prelu", "validation", "activation = prelu"),
        ("prelu", "Others", "activation = prelu"),
    ]
    assert all(0 <= float(row["DSC"]) <= 1 and float(row["landmarks (voxels)"]) > 0 for row in rows)
    page = (out / "ablation.html").read_text(encoding="utf-8")
    assert "2 iterations a run" in page
    assert page.count("<svg") == 2
    assert (out / "ablation.md").read_text(encoding="utf-8").count("\n| ") == 4
    kept = read_configuration(out / "runs" / "prelu-fold1" / "configuration.toml")
    assert (kept.name, kept.network.activation, kept.optimisation.iterations) == ("prelu", "prelu", 2)

    class NoTrainer:
        def __init__(self, *arguments, **named):
            raise AssertionError("trained again")

    monkeypatch.setattr(ablation, "Trainer", NoTrainer)
    capsys.readouterr()
    assert main(chosen) == 0
    assert capsys.readouterr().out.count("trained before") == 2


def test_scan_that_cannot_be_judged_is_named(tmp_path, arguments, capsys):
    (tmp_path / "others" / "b100.nrrd").write_text("no scan")
    assert main([*arguments, "--only", "base", "--views", "10", "--contrast", "matched"]) == 2
    assert "base, fold 1: b100" in capsys.readouterr().err
    told = (tmp_path / "out" / "ablation.md").read_text(encoding="utf-8")
    assert "means are over fewer ears: base, fold 1: b100" in told
    assert "10 view(s), contrast: matched" in told
    rows = list(csv.DictReader((tmp_path / "out" / "ablation.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["group"] for row in rows] == ["validation"]


def test_run_with_other_settings_is_not_mixed_in(tmp_path, arguments, capsys):
    assert main([*arguments, "--only", "base"]) == 0
    assert main([*arguments, "--only", "base", "--budget", "3"]) == 2
    said = capsys.readouterr().err
    assert "holds a run with other settings (optimisation.iterations was 2 and is 3); name another" in said
    (tmp_path / "out" / "runs" / "base-fold1" / "checkpoint.safetensors").unlink()
    (tmp_path / "out" / "runs" / "base-fold1" / "done.json").write_text('{"key": "another", "minutes": 3}')
    assert main([*arguments, "--only", "base"]) == 2
    assert "does not say what it was trained on" in capsys.readouterr().err


def test_run_of_an_earlier_version_is_known_by_its_checkpoint(tmp_path, arguments, capsys):
    chosen = [*arguments, "--only", "base"]
    assert main(chosen) == 0
    done = tmp_path / "out" / "runs" / "base-fold1" / "done.json"
    done.write_text('{"key": "0", "minutes": 3}')
    assert main(chosen) == 0
    assert "trained before" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["scan", "labels", "landmarks"])
def test_run_is_not_taken_over_once_the_data_set_has_changed(tmp_path, arguments, capsys, what):
    chosen = [*arguments, "--only", "base"]
    assert main(chosen) == 0
    scan, labels, landmarks = ball(0)
    folder = tmp_path / "balls"
    if what == "scan":
        write_volume(folder / "b0.nrrd", scan.with_voxels(scan.voxels + np.int16(7)))
    elif what == "labels":
        write_volume(folder / "b0_labels.nrrd", labels.with_voxels(np.roll(labels.voxels, 1, axis=0)))
    else:
        path, (_, middle, _) = folder / "b0.mrk.json", landmarks["helicotrema"].tolist()
        path.write_text(path.read_text().replace(repr(middle), repr(middle + 0.5)))
    capsys.readouterr()
    assert main(chosen) == 2
    said = capsys.readouterr()
    assert "The data set has changed since" in said.err
    assert ("of the scans" if what == "scan" else "labels or landmarks of 1 of the scans have changed") in said.err
    assert "trained before" not in said.out


def test_run_is_taken_over_wherever_the_data_set_is_named_from(tmp_path, arguments, capsys, monkeypatch):
    chosen = [*arguments, "--only", "base"]
    assert main(chosen) == 0
    monkeypatch.chdir(tmp_path / "balls")
    chosen[chosen.index("--data") + 1] = "balls.toml"
    capsys.readouterr()
    assert main(chosen) == 0
    said = capsys.readouterr().out
    assert "trained before" in said
    assert "Preparing" not in said


def test_run_whose_mark_was_cut_off_is_gone_on_with(tmp_path, arguments):
    chosen = [*arguments, "--only", "base"]
    assert main(chosen) == 0
    done = tmp_path / "out" / "runs" / "base-fold1" / "done.json"
    done.write_text('{"key": "')
    assert main(chosen) == 0
    assert '"minutes"' in done.read_text()


def test_interrupted_run_is_gone_on_with(tmp_path, arguments, monkeypatch):
    resumed, run = [], ablation.Trainer.run

    def interrupted(self):
        run(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation.Trainer, "run", interrupted)
    assert main([*arguments, "--only", "base"]) == 130
    monkeypatch.setattr(ablation.Trainer, "run", run)
    monkeypatch.setattr(ablation.Trainer, "resume", lambda self: resumed.append(self.config.name))
    assert main([*arguments, "--only", "base"]) == 0
    assert resumed == ["base"]


def test_mistake_of_the_program_shows_where_it_is(arguments, capsys, monkeypatch):
    def broken(self):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(ablation.Trainer, "run", broken)
    assert main([*arguments, "--only", "base"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_data_set_too_small_for_the_folds_is_said_in_one_line(tmp_path, arguments, capsys):
    data_set(tmp_path / "balls", 1)
    assert main([*arguments, "--only", "base"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_folds_hold_out_other_cases_and_are_gathered_in_one_row(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    plan = AblationPlan(read_table(tmp_path / "tiny.toml"), data_set(tmp_path / "balls", 3), (), 2, 1, "cpu")
    runs = ablate(plan, [variation(BASE)], tmp_path / "out", lambda line: None)
    held_out = [run.outcome.figures[0].name for run in runs]
    taught = [run.outcome.card.figures["trained_on_cases"]["Balls"] for run in runs]
    assert all(name not in names for name, names in zip(held_out, taught, strict=True))
    (row,) = ablation_table(runs, "").rows
    assert row[3] == "2"
    assert "±" in row[5]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--only", "deeper"], "There is no variation"),
        (["--folds", "0"], "must be at least 1"),
        (["--config", "silver"], "none of that name"),
        (["--data", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_ablate_command_ends_with_2_where_it_cannot_begin(tmp_path, arguments, capsys, more, words):
    assert main([*arguments, *more]) == 2
    assert words in capsys.readouterr().err


def test_the_first_of_the_listed_variations_may_be_all_that_is_read(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Unwritable(1))
    assert main(["ablate", "--list"]) == 0


def test_variations_can_be_listed(capsys):
    assert main(["ablate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 46
    assert "double_width: width (value ours)" in lines
    assert "heatmaps_gamma: heatmap schedule (value ours)" in lines
    assert "gates_both: attention gates" in lines
