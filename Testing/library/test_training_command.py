"""The command `train` where it cannot do as asked: folders, damaged files, nothing to resume."""

from __future__ import annotations

import json
import sys

import pytest

from InnerEarAILib.cli import main
from InnerEarAILib.model_store import load_card
from InnerEarAILib.training import data_source
from InnerEarAILib.training.manifest_dataset import load_case
from InnerEarAILib.training.run_folder import MetricsTable, read_metrics, set_aside_damaged
from library.labelled_balls import data_set
from library.tiny_training import tiny_table
from library.unwritable import Unwritable

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def train(tmp_path):
    """Trains on balls as further arguments say; returns the exit code."""
    (tmp_path / "tiny.toml").write_text(tiny_table(iterations=4))
    balls = data_set(tmp_path / "balls", 3)

    def run(*arguments, configuration=tmp_path / "tiny.toml", data=balls):
        named = ["--data", str(data)] if data else []
        return main(["train", str(configuration), "--device", "cpu", *named, *map(str, arguments)])

    return run


@pytest.fixture
def prepared(monkeypatch):
    """Folders that cases were prepared in."""
    folders, prepare = [], data_source.prepare_case
    monkeypatch.setattr(data_source, "prepare_case", lambda *told: (folders.append(told[1]), prepare(*told)))
    return folders


def one_sentence(capsys):
    """What was said on the error stream, which is one line."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_log_that_nobody_reads_any_longer_does_not_stop_training(tmp_path, train, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Unwritable(1))
    assert train("-o", tmp_path / "run") == 0


@pytest.mark.parametrize("place", ["-o", "--anatomies"])
@pytest.mark.parametrize("below", ["", "run"])
def test_folder_that_cannot_be_made_is_said(tmp_path, train, capsys, place, below):
    (tmp_path / "file").write_text("")
    where = {"-o": tmp_path / "run"} | {place: tmp_path / "file" / below}
    assert train(*(word for pair in where.items() for word in pair)) == 2
    words = "cannot be made or written to (Not a directory); name another" if below else "is a file; name another"
    assert words in one_sentence(capsys)


def test_folder_of_an_ablation_that_cannot_be_made_is_said(tmp_path, train, capsys):
    (tmp_path / "file").write_text("")
    for data in (["--data", str(tmp_path / "balls" / "balls.toml")], []):
        arguments = ["--config", str(tmp_path / "tiny.toml"), "--only", "base", *data, "-o", str(tmp_path / "file")]
        assert main(["ablate", "--device", "cpu", *arguments]) == 2
        assert "file is a file; name another folder" in one_sentence(capsys)


def test_checkpoint_that_was_cut_off_is_said(tmp_path, train, capsys):
    assert train("-o", tmp_path / "run") == 0
    checkpoint = tmp_path / "run" / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    for length in (0, 100, len(whole) // 2):
        checkpoint.write_bytes(whole[:length])
        capsys.readouterr()
        assert train("-o", tmp_path / "run", "--resume") == 2
        assert "checkpoint.safetensors is damaged, and" in one_sentence(capsys)


def test_metrics_that_a_spreadsheet_has_saved_are_kept_and_begun_anew(tmp_path, train, capsys):
    assert train("-o", tmp_path / "run") == 0
    metrics = tmp_path / "run" / "metrics.csv"
    spoilt = metrics.read_text().replace(",", ";").replace("\n", "\r\n").encode()
    metrics.write_bytes(spoilt)
    assert train("-o", tmp_path / "run", "--resume") == 0
    assert "metrics.csv cannot be read" in capsys.readouterr().out
    assert (tmp_path / "run" / "metrics-damaged-1.csv").read_bytes() == spoilt
    assert all("iteration" in row for row in read_metrics(metrics))


@pytest.mark.parametrize("text", ["iteration,loss\n1,two\n", "iteration\n1,2,3\n", "loss\n1\n", "iteration\n\xff\n"])
def test_tables_that_cannot_be_read_are_set_aside_one_beside_the_other(tmp_path, text):
    path = tmp_path / "metrics.csv"
    for number in (1, 2):
        path.write_bytes(text.encode("latin-1"))
        assert set_aside_damaged(path) == tmp_path / f"metrics-damaged-{number}.csv"
    assert set_aside_damaged(path) is None
    MetricsTable(path, ("iteration",)).append({"iteration": 1})
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert set_aside_damaged(path) is None


@pytest.mark.parametrize("name", ["image", "labyrinth", "places", "landmarks"])
def test_prepared_case_that_was_cut_off_is_prepared_again(tmp_path, train, prepared, name):
    shared = ("--anatomies", tmp_path / "scans")
    assert train("-o", tmp_path / "first", *shared) == 0
    load_case.cache_clear()  # as in a process of its own
    spoilt = tmp_path / "scans" / "0001" / f"{name}.npy"
    spoilt.write_bytes(spoilt.read_bytes()[: spoilt.stat().st_size // 2])
    prepared.clear()
    assert train("-o", tmp_path / "second", *shared) == 0
    assert prepared == [tmp_path / "scans" / "0001"]


def test_nothing_to_resume_is_said_before_anything_is_prepared(tmp_path, train, capsys, prepared, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("--fold", 2) == 0
    prepared.clear()
    capsys.readouterr()
    assert train("--resume") == 2
    said = one_sentence(capsys)
    assert "There is nothing to resume" in said
    assert "give the --fold" in said
    assert prepared == []
    assert not (tmp_path / "runs" / "tiny").exists()


def test_other_settings_are_refused_before_anything_is_prepared(tmp_path, train, capsys, prepared):
    assert train("-o", tmp_path / "run", "--fold", 2) == 0
    other = data_set(tmp_path / "others", 3, "Others", first=10)
    prepared.clear()
    assert train("-o", tmp_path / "run", "--fold", 1, "--resume", data=other) == 2
    assert "data.fold was 2 and is 1" in one_sentence(capsys)
    assert prepared == []


def test_folder_of_prepared_scans_is_kept_for_going_on(tmp_path, train, prepared, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert train("-o", tmp_path / "run", "--anatomies", "prepared") == 0
    kept = tmp_path / "run" / "configuration.toml"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    prepared.clear()
    assert train("--resume", configuration=kept, data=None) == 0
    assert prepared == []
    assert not (tmp_path / "run" / "scans").exists()
    (tmp_path / "prepared").rename(tmp_path / "moved")
    assert train("--resume", "--anatomies", "../moved", configuration=kept, data=None) == 0
    assert train("--resume", configuration=kept, data=None) == 0
    assert prepared == []
    (tmp_path / "moved").rename(tmp_path / "gone")
    assert train("--resume", configuration=kept, data=None) == 0
    assert {folder.parent for folder in prepared} == {tmp_path / "run" / "scans"}
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (told["anatomies"], told["fold"], told["configuration"]) == (None, 1, str(tmp_path / "tiny.toml"))
    assert load_card("tiny", tmp_path / "run" / "last").name == "tiny"
