"""What a run remembers: the scans its weights have seen, what it was begun with, and what it must be resumed with."""

from __future__ import annotations

import json
import os

import pytest

from InnerEarAILib.cli import main
from InnerEarAILib.model_store import load_card, load_network
from InnerEarAILib.training.checkpoint import read_numbers, save_checkpoint
from InnerEarAILib.training.configuration import ConfigurationError, read_configuration
from InnerEarAILib.training.data_source import with_manifest
from InnerEarAILib.training.run_settings import check_settings
from InnerEarAILib.training.seen_scans import ScanList, SeenScans
from InnerEarAILib.training.trainer import Trainer
from library.labelled_balls import data_set
from library.tiny_training import tiny_config, tiny_table, tiny_trainer

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = tiny_table(iterations=2)

SETTINGS = {
    "seed": 1,
    "description": "One.",
    "watch": {"workers": 4},
    "optimisation": {"iterations": 100, "learning_rate": 0.1},
    "data": {"kind": "manifest", "manifest": "here", "fold": 1},
    "scans": {"trained on": ["a", "b"], "held out": ["c"], "labelled": ["x", "y", "z"]},
}


def changed(**sections):
    return {name: {**value, **sections[name]} if name in sections else value for name, value in SETTINGS.items()}


@pytest.fixture
def train(tmp_path):
    """Trains in RUN as arguments say; returns the exit code."""
    (tmp_path / "tiny.toml").write_text(TINY)

    def run(folder, *arguments):
        return main(["train", str(tmp_path / "tiny.toml"), "--device", "cpu", "-o", str(tmp_path / folder), *arguments])

    return run


def seen_by(folder):
    return SeenScans.of_figures(load_card("tiny", folder).figures)


def test_card_and_run_folder_say_which_scans_were_seen(tmp_path, train):
    data = data_set(tmp_path / "balls", 3)
    assert train("run", "--data", str(data), "--fold", "2") == 0
    best, last = (seen_by(tmp_path / "run" / which) for which in ("best", "last"))
    assert best.taught == last.taught
    assert sorted(best.taught.cases["Balls"] + best.validated.cases["Balls"]) == ["b0", "b1", "b2"]
    assert (len(best.taught.sha256), len(best.validated.sha256)) == (2, 1)
    assert last.validated == ScanList()  # which were chosen by nothing
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (told["data"], told["fold"], told["from"]) == (str(data.resolve()), 2, None)


def test_run_begun_with_weights_inherits_their_scans_even_when_resumed(tmp_path, train, capsys):
    balls = data_set(tmp_path / "balls", 3)
    others = data_set(tmp_path / "others", 3, "Others")  # other names for the same scans
    assert train("first", "--data", str(balls)) == 0
    parent = tmp_path / "first" / "best" / "tiny"
    assert train("second", "--data", str(others), "--fold", "2", "--from", str(parent)) == 0
    assert "that are held out" in capsys.readouterr().out
    assert train("second", "--data", str(others), "--fold", "2", "--resume") == 0
    before, after = seen_by(parent.parent), seen_by(tmp_path / "second" / "best")
    assert after.taught.cases == {**before.taught.cases, "Others": after.taught.cases["Others"]}
    assert before.taught.sha256 < after.taught.sha256
    assert before.validated.sha256 <= after.validated.sha256
    told = json.loads((tmp_path / "second" / "run.json").read_text())
    assert told["from"] == f"tiny {load_card('tiny', parent.parent).version}"
    assert "had taught the weights that it began with" in load_card("tiny", tmp_path / "second" / "last").validated_on


def test_run_folder_holds_all_that_is_needed_to_go_on(tmp_path, train, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.toml").write_text('like = "tiny.toml"\nname = "tiny"\n[heatmaps]\nschedule = "beta"\n')
    data_set(tmp_path / "balls", 3)
    arguments = ["--device", "cpu", "--data", "balls/balls.toml", "--fold", "2", "-o", "run"]
    assert main(["train", "own.toml", *arguments]) == 0
    kept = tmp_path / "run" / "configuration.toml"
    began = read_configuration("own.toml")
    assert read_configuration(kept) == with_manifest(began, tmp_path / "balls" / "balls.toml", 2)
    before = kept.read_text()
    for gone in ("own.toml", "tiny.toml"):
        (tmp_path / gone).unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["train", str(kept), "--device", "cpu", "--resume"]) == 0
    assert not list((tmp_path / "elsewhere").iterdir())
    assert kept.read_text() == before


def test_run_is_not_resumed_on_another_fold(tmp_path, train, capsys):
    data = data_set(tmp_path / "balls", 3)
    assert train("run", "--data", str(data)) == 0
    card = (tmp_path / "run" / "best" / "tiny" / "model.json").read_text()
    assert train("run", "--data", str(data), "--fold", "2", "--resume") == 2
    said = capsys.readouterr().err
    assert "data.fold was 1 and is 2" in said
    assert said.count("\n") == 1
    assert (tmp_path / "run" / "best" / "tiny" / "model.json").read_text() == card
    (tmp_path / "balls").rename(tmp_path / "moved")
    assert train("run", "--data", str(tmp_path / "moved" / "balls.toml"), "--resume", "--minutes", "1") == 0


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (changed(data={"fold": 2}), "data.fold was 1 and is 2; give what"),
        ({**SETTINGS, "seed": 3}, "seed was 1 and is 3; give what"),
        (changed(optimisation={"learning_rate": 0.2}), "optimisation.learning_rate was 0.1 and is 0.2"),
        (changed(scans={"trained on": ["b", "d", "e"]}), "of the scans trained on 1 are gone and 2 are new"),
        (changed(data={"fold": 2}, scans={"held out": ["a"]}), "data.fold was 1 and is 2; give what"),
        (changed(scans={"labelled": ["x", "v", "w"]}), "labels or landmarks of 2 of the scans have changed; give what"),
        (changed(scans={"held out": ["d"], "labelled": ["x", "y", "w"]}), "settings: of the scans held out 1 are gone"),
    ],
)
def test_other_settings_are_refused_and_named(tmp_path, now, words):
    with pytest.raises(ConfigurationError, match=words) as refused:
        check_settings(SETTINGS, now, tmp_path / "checkpoint.safetensors")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "now",
    [
        changed(optimisation={"iterations": 200}, watch={"workers": 0}, data={"manifest": "there"}),
        {**SETTINGS, "description": "Another."},
        changed(data={"entry_of_a_later_version": 1}),
        {},
    ],
)
def test_length_words_and_places_may_change(tmp_path, now):
    check_settings(SETTINGS, now, tmp_path)


def test_checkpoint_is_handed_to_the_disk_by_a_file_that_may_be_written_to(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(os, "fsync", lambda file: written.append(os.write(file, b"")))  # refused where opened to read
    trainer = tiny_trainer(tmp_path / "run")
    save_checkpoint(trainer.checkpoint_path, trainer._modules(), trainer._optimiser, {"iteration": 4})
    assert written == [0]
    assert read_numbers(trainer.checkpoint_path) == {"iteration": 4}


def test_mistake_of_the_program_in_training_shows_where_it_is(tmp_path, train, capsys, monkeypatch):
    def broken(self):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(Trainer, "run", broken)
    assert train("run", "--data", str(data_set(tmp_path / "balls", 2))) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "could not be broadcast" in said


def test_scans_of_the_first_weights_are_in_every_card(tmp_path):
    own = SeenScans(ScanList({"Own": ("a",)}, frozenset("1")), ScanList({"Own": ("b",)}, frozenset("2")))
    first = tiny_trainer(tmp_path / "first", tiny_config(optimisation={"iterations": 2}), seen=own)
    first.run()
    card = load_card("tiny", tmp_path / "first" / "best")
    assert SeenScans.of_figures(card.figures) == own
    second = tiny_trainer(tmp_path / "second", tiny_config(optimisation={"iterations": 2}))
    second.begin_with(load_network(card), "tiny 1", SeenScans.of_figures(card.figures))
    second.run()
    assert all(seen_by(tmp_path / "second" / which) == own for which in ("best", "last"))


def test_lists_of_scans_are_joined_by_data_set_and_content():
    one = ScanList({"A": ("a", "b")}, frozenset({"1", "2"}))
    both = one | ScanList({"A": ("b", "c"), "B": ("a",)}, frozenset({"2", "3"}))
    assert both == ScanList({"A": ("a", "b", "c"), "B": ("a",)}, frozenset({"1", "2", "3"}))
    assert one.shared(both) == 2
    assert one.shared(ScanList({"Renamed": ("x",)}, frozenset({"2"}))) == 1
    assert one.shared(ScanList({"A": ("b",)})) == 1  # saved anew
    assert SeenScans.of_figures({"trained_on_cases": {"A": ["a"]}}).taught == ScanList({"A": ("a",)})
