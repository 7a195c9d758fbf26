"""Arguments of all commands that are no path, number or time end in one sentence in plain words."""

import subprocess
import sys

import pytest

from InnerEarAILib import cli, saying

COMMANDS_WITH_OUTPUT = {
    "segment": ["scan.nrrd"],
    "phantom": [],
    "train": ["clinical"],
    "evaluate": ["--card", "clinical"],
    "ablate": [],
    "benchmark": [],
}


@pytest.mark.parametrize("command", COMMANDS_WITH_OUTPUT)
def test_an_empty_output_is_not_the_current_folder(command, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, *COMMANDS_WITH_OUTPUT[command], "-o", ""]) == 2
    assert "the path is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["phantom", "-o", "p", "--seed", "1e3"], "“1e3” is no whole number"),
        (["phantom", "-o", "p", "--count", "nan"], "“nan” is no whole number"),
        (["phantom", "-o", "p", "--count", "0"], "0 is not at least 1"),
        (["benchmark", "-o", "b", "--runs", "x"], "“x” is no whole number"),
        (["train", "clinical", "-o", "r", "--minutes", "nan"], "nan is not a positive number of minutes"),
        (["train", "clinical", "-o", "r", "--minutes", "inf"], "inf is not a positive number of minutes"),
        (["train", "clinical", "-o", "r", "--minutes", "-1"], "-1 is not a positive number of minutes"),
        (["evaluate", "--card", "clinical", "-o", "e", "--minutes", "an hour"], "“an hour” is no number"),
    ],
)
def test_what_is_no_number_is_told_in_plain_words(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_closed_pipe_does_not_end_the_work(tmp_path):
    script = (
        "import sys; from InnerEarAILib.saying import say\n"
        "for _ in range(3): say('a line', sys.stdout)\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    library = saying.__file__.rsplit("InnerEarAILib", 1)[0]
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONPATH": library}
    )
    child.stdout.close()
    error = child.stderr.read()
    child.stderr.close()
    assert (child.wait(timeout=60), error) == (0, b"")
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "--card", "clinical", "--quick"],
        ["ablate"],
        ["benchmark", "--scan", "crop-50mm"],
        ["train", "clinical"],
        ["phantom"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_file_in_the_place_of_the_output_is_said_before_any_work(arguments, tmp_path, monkeypatch, capsys):
    in_the_way = tmp_path / "output"
    in_the_way.write_text("mine")
    for drawing in ("phantom.phantom.draw_phantom", "evaluation.evaluate.evaluate"):
        monkeypatch.setattr(f"InnerEarAILib.{drawing}", None)
    assert cli.main([*arguments, "-o", str(in_the_way)]) == 2
    assert "is a file" in capsys.readouterr().err
    assert in_the_way.read_text() == "mine"


def test_a_file_in_the_place_of_the_drawn_scans_is_said_before_any_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("InnerEarAILib.evaluation.evaluate.evaluate", None)
    in_the_way = tmp_path / "drawn"
    in_the_way.write_text("mine")
    assert cli.main(["evaluate", "--card", "clinical", "-o", str(tmp_path / "e"), "--drawn", str(in_the_way)]) == 2
    assert "is a file" in capsys.readouterr().err


def test_scanners_are_refused_where_nothing_is_to_be_scanned(tmp_path, capsys):
    scans = ["--case", str(tmp_path / "scan.nrrd"), str(tmp_path / "labels.nrrd")]
    assert cli.main(["evaluate", "--model", "clinical", *scans, "--scanner", "micro", "-o", str(tmp_path / "e")]) == 2
    assert "--scanner goes with --anatomy alone" in capsys.readouterr().err


def test_a_test_set_that_is_not_there_is_said_before_phantoms_are_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("InnerEarAILib.evaluation.phantom_set.draw_phantom_set", None)
    missing = str(tmp_path / "nothere.toml")
    assert cli.main(["ablate", "--test", missing, "--device", "cpu", "-o", str(tmp_path / "a")]) == 2
    assert "nothere.toml cannot be read" in capsys.readouterr().err


def test_a_locator_is_not_timed_as_a_segmenter(tmp_path, capsys):
    chosen = ["--model", "locator", "--scan", "crop-50mm", "--device", "cpu", "-o", str(tmp_path / "b")]
    assert cli.main(["benchmark", *chosen]) == 2
    assert "The model locator is a locator" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
