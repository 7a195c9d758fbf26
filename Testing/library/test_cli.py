"""The command line: what is written, what is said where, and with which code it ends."""

import json
import os
import sys
from pathlib import Path

import pytest

from InnerEarAILib import cli
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.progress import Cancelled
from InnerEarAILib.scan_files import write_volume
from InnerEarAILib.volume import InputError
from library.scans import FakeSegmenter, noisy_scan, painted_ear, scan_result, write_dicom
from library.unwritable import Unwritable

LIBRARY = Path(cli.__file__).parents[1]


def both_ears(volume, progress):
    del progress
    ears = [painted_ear("right", (-38, 4, 7)), painted_ear("left", (40, 6, 3))]
    return scan_result(ears, volume.name, volume.grid)


@pytest.fixture
def scan(tmp_path):
    write_volume(tmp_path / "scan.nrrd", noisy_scan())
    return tmp_path / "scan.nrrd"


def run(*arguments, answer=both_ears):
    return cli.main(["segment", *map(str, arguments)], FakeSegmenter(answer))


def test_results_are_written_and_said(tmp_path, scan, capsys):
    assert run(scan, "-o", tmp_path / "out") == 0
    assert len(os.listdir(tmp_path / "out")) == 6
    said = capsys.readouterr()
    assert said.err == ""
    assert "right ear, 250.0 mm³" in said.out
    assert "3 of 3 landmarks" in said.out
    assert "Unusual." in said.out
    assert f"6 files in {tmp_path / 'out'}" in said.out


def test_steps_and_notes_are_lines_where_there_is_no_terminal(tmp_path, scan, capsys):
    def noting(volume, progress):
        progress.step("Predicting", 0.6)
        progress.note("The GPU was too small.")
        return both_ears(volume, progress)

    run(scan, "-o", tmp_path / "out", answer=noting)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "scan: Reading the scan",
        "scan: Predicting",
        "scan: The GPU was too small.",
        "scan: Writing the results",
    ]


def test_the_time_is_told_before_the_run(tmp_path, scan, capsys, monkeypatch):
    segmenter = pytest.importorskip("InnerEarAILib.segmenter")
    learned = []
    monkeypatch.setattr(segmenter, "segment", lambda volume, options, progress: both_ears(volume, progress))
    monkeypatch.setattr(cli, "time_sentence", lambda grid, options, progress: f"{options.preset}: 5 seconds.")
    monkeypatch.setattr(cli, "learn", learned.append)
    assert cli.main(["segment", str(scan), "-o", str(tmp_path / "out"), "--preset", "fast"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["scan: Reading the scan", "scan: fast: 5 seconds.", "scan: Writing the results"]
    assert len(learned) == 1


def test_an_estimate_never_ends_a_run(tmp_path, scan, capsys, monkeypatch):
    segmenter = pytest.importorskip("InnerEarAILib.segmenter")

    def fails(*arguments):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(segmenter, "segment", lambda volume, options, progress: both_ears(volume, progress))
    monkeypatch.setattr(cli, "time_sentence", fails)
    monkeypatch.setattr(cli, "learn", fails)
    assert cli.main(["segment", str(scan), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_bar_instead(tmp_path, scan, capsys, monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    run(scan, "-o", tmp_path / "out")
    said = capsys.readouterr()
    assert "scan: Predicting |" in said.err
    assert "50%" in said.err
    assert "Predicting" not in said.out


def test_options_reach_the_route(tmp_path, scan):
    fake = FakeSegmenter(both_ears)
    choices = "--preset paper --model gold --device cpu --ear left --views 1 --whole-volume --no-postprocessing"
    choices += " --output-grid scan --contrast-matching"
    assert cli.main(["segment", str(scan), "-o", str(tmp_path / "out"), *choices.split()], fake) == 0
    ((volume, options),) = fake.asked
    assert volume.name == "scan"
    assert options == {
        "preset": "paper",
        "model": "gold",
        "device": "cpu",
        "ear": "left",
        "views": 1,
        "locate": False,
        "postprocess": False,
        "output_grid": "scan",
        "contrast_matching": True,
    }


def test_what_was_not_asked_for_is_left_to_the_preset(tmp_path, scan):
    fake = FakeSegmenter(both_ears)
    cli.main(["segment", str(scan), "-o", str(tmp_path / "out")], fake)
    assert fake.asked[0][1] == {"preset": "standard", "model": "auto", "device": "auto", "ear": "auto"}


def test_options_are_those_that_the_segmenter_knows(tmp_path, scan):
    segmenter = pytest.importorskip("InnerEarAILib.segmenter")
    fake = FakeSegmenter(both_ears)
    choices = "--preset fast --ear both --views 10 --whole-volume --no-postprocessing"
    cli.main(["segment", str(scan), "-o", str(tmp_path / "out"), *choices.split()], fake)
    resolved = segmenter.SegmenterOptions(**fake.asked[0][1]).resolved()
    assert (resolved.locate, resolved.views, resolved.postprocess) == (False, 10, False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["segment"], "required"),
        (["segment", "scan.nrrd"], "-o/--output"),
        (["segment", "scan.nrrd", "-o", "out", "--preset", "best"], "invalid choice: 'best'"),
        (["segment", "scan.nrrd", "-o", "out", "--views", "3"], "(choose from 1, 10)"),
        (["segment", "scan.nrrd", "-o", "out", "--wrong"], "unrecognized arguments: --wrong"),
        (["dance"], "invalid choice"),
    ],
)
def test_bad_arguments_end_in_one_sentence(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments, FakeSegmenter(both_ears)) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("The scan is a knee."), 2, "scan: The scan is a knee."),
        (ModelError("There is no model 'x'."), 2, "scan: There is no model 'x'."),
        (Cancelled("Cancelled during: Predicting"), 130, "scan: Cancelled; nothing was written."),
        (KeyboardInterrupt(), 130, "scan: Cancelled; nothing was written."),
        (MemoryError(), 1, "scan: There is not enough memory"),
        (
            ZeroDivisionError("float\ndivision"),
            1,
            "scan: Unexpected error (ZeroDivisionError: float division). Run again",
        ),
    ],
)
def test_failures_have_a_code_and_one_sentence_and_leave_nothing(tmp_path, scan, capsys, error, code, words):
    assert run(scan, "-o", tmp_path / "out", answer=error) == code
    said = capsys.readouterr()
    assert said.err.startswith(words)
    assert said.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["scan.nrrd"]


def test_where_no_ear_is_found_any_more_earlier_results_are_mentioned(tmp_path, scan, capsys):
    assert run(scan, "-o", tmp_path / "out") == 0
    before = sorted(os.listdir(tmp_path / "out"))
    capsys.readouterr()
    assert run(scan, "-o", tmp_path / "out", "--overwrite", answer=scan_result([])) == 3
    assert capsys.readouterr().err.endswith("nothing was written. Earlier results of that name stay there.\n")
    assert sorted(os.listdir(tmp_path / "out")) == before


def test_traceback_is_shown_on_demand(tmp_path, scan, capsys):
    assert run(scan, "-o", tmp_path / "out", "--verbose", answer=ZeroDivisionError("bug")) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train", "clinical"], ["evaluate", "--card", "clinical", "-o", "out"]])
def test_commands_of_the_side_wings_always_leave_the_traceback_of_an_unexpected_error(monkeypatch, capsys, command):
    def fails(chosen):
        raise ZeroDivisionError("bug")

    for module, handler in (("training.command", "run_train_command"), ("evaluation.command", "run_evaluate_command")):
        monkeypatch.setattr(f"InnerEarAILib.{module}.{handler}", fails)
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert 'raise ZeroDivisionError("bug")' in said
    assert said.splitlines()[-1] == f"{command[0]}: Unexpected error (ZeroDivisionError: bug)."


def test_no_ear_has_a_code_of_its_own_and_leaves_nothing(tmp_path, scan, capsys):
    assert run(scan, "-o", tmp_path / "out", answer=scan_result([])) == 3
    assert capsys.readouterr().err == "scan: No inner ear was found; nothing was written.\n"
    assert os.listdir(tmp_path) == ["scan.nrrd"]


def test_missing_scan_is_said_without_starting_the_route(tmp_path, capsys):
    fake = FakeSegmenter(both_ears)
    assert cli.main(["segment", str(tmp_path / "no.nrrd"), "-o", str(tmp_path / "out")], fake) == 2
    assert fake.asked == []
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_earlier_results_are_not_touched_without_leave(tmp_path, scan, capsys):
    fake = FakeSegmenter(both_ears)
    arguments = ["segment", str(scan), "-o", str(tmp_path / "out")]
    assert cli.main(arguments, fake) == 0
    assert cli.main(arguments, fake) == 2
    assert len(fake.asked) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert cli.main([*arguments, "--overwrite"], fake) == 0


def test_one_bad_scan_does_not_stop_the_others(tmp_path, capsys):
    for name in ("a", "c", "d"):
        write_volume(tmp_path / f"{name}.nrrd", noisy_scan())
    (tmp_path / "b.nrrd").write_text("no scan")

    def no_ear_in_d(volume, progress):
        return scan_result([]) if volume.name == "d" else both_ears(volume, progress)

    scans = [tmp_path / f"{name}.nrrd" for name in "abcd"]
    assert run(*scans, "-o", tmp_path / "out", answer=no_ear_in_d) == 2
    assert {file.partition("_")[0] for file in os.listdir(tmp_path / "out")} == {"a", "c"}
    errors = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in errors] == ["b", "d"]


def test_cancelling_stops_the_scans_that_follow_and_keeps_those_before(tmp_path):
    for name in "abc":
        write_volume(tmp_path / f"{name}.nrrd", noisy_scan())

    def cancelled_at_b(volume, progress):
        if volume.name == "b":
            raise KeyboardInterrupt
        return both_ears(volume, progress)

    assert run(*[tmp_path / f"{name}.nrrd" for name in "abc"], "-o", tmp_path / "out", answer=cancelled_at_b) == 130
    assert {file.partition("_")[0] for file in os.listdir(tmp_path / "out")} == {"a"}


def test_scans_of_one_name_get_results_of_different_names(tmp_path):
    places = [tmp_path / "left" / "scan.nrrd", tmp_path / "right" / "scan.nrrd", tmp_path / "right" / "Scan.nii.gz"]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        write_volume(place, noisy_scan())
    fake = FakeSegmenter(both_ears)
    assert cli.main(["segment", *map(str, places), str(places[0]), "-o", str(tmp_path / "out")], fake) == 0
    assert [volume.name for volume, _ in fake.asked] == ["left_scan", "right_scan_nrrd", "right_Scan_nii_gz"]
    assert len(os.listdir(tmp_path / "out")) == 18


def test_linked_scans_are_named_after_their_links(tmp_path):
    """As git-annex, DVC and download caches leave them: one content under a checksum, without a suffix."""
    write_volume(tmp_path / "content.nrrd", noisy_scan())
    (tmp_path / "content.nrrd").rename(tmp_path / "5f3e")
    for name in ("before.nrrd", "after.nrrd"):
        (tmp_path / name).symlink_to(tmp_path / "5f3e")
    fake = FakeSegmenter(both_ears)
    scans = [str(tmp_path / name) for name in ("before.nrrd", "after.nrrd", "before.nrrd")]
    assert cli.main(["segment", *scans, "-o", str(tmp_path / "out")], fake) == 0
    assert [volume.name for volume, _ in fake.asked] == ["before", "after"]


def test_that_a_file_does_not_say_how_the_scan_lies_is_said_and_kept(tmp_path, scan, capsys):
    scan.write_bytes(scan.read_bytes().replace(b"space: left-posterior-superior", b"space dimension: 3"))
    sentence = "The file does not say how the scan lies: check the side of each ear."
    assert run(scan, "-o", tmp_path / "out") == 0
    assert f"scan: {sentence}" in capsys.readouterr().out.splitlines()
    assert json.loads((tmp_path / "out" / "scan_result.json").read_text(encoding="utf-8"))["notes"][0] == sentence


def test_a_lengthened_name_is_said_with_its_path(tmp_path, capsys):
    places = [tmp_path / patient / "CT" / "scan.nrrd" for patient in ("P01", "P02")]
    for place in (*places, tmp_path / "other.nrrd"):
        place.parent.mkdir(exist_ok=True, parents=True)
        write_volume(place, noisy_scan())
    assert run(*places, tmp_path / "other.nrrd", "-o", tmp_path / "out") == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "Results of" in line]
    assert said == [f"{name}_CT_scan: Results of {place}" for name, place in zip(("P01", "P02"), places, strict=True)]


@pytest.mark.parametrize("arguments", [["", "-o", "out"], ["scan.nrrd", "-o", ""]])
def test_an_empty_path_is_not_the_current_folder(tmp_path, scan, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert run(*arguments) == 2
    assert "the path is empty" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["scan.nrrd"]


@pytest.mark.parametrize("output", ["a\0b", "n" * 300, "d/" * 3000])
def test_an_output_that_no_folder_can_be_called_is_refused_before_the_scan_is_read(scan, capsys, output):
    fake = FakeSegmenter(both_ears)
    assert cli.main(["segment", str(scan), "-o", str(scan.parent / output)], fake) == 2
    assert not fake.asked
    said = capsys.readouterr().err
    assert "cannot be made" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("lines", [0, 2, 4])
def test_a_log_that_nobody_reads_any_longer_does_not_stop_a_run(tmp_path, scan, monkeypatch, lines):
    monkeypatch.setattr(sys, "stdout", Unwritable(lines))
    assert run(scan, "-o", tmp_path / "out") == 0
    assert len(os.listdir(tmp_path / "out")) == 6


def test_dicom_folder_gives_its_name_and_never_the_patients(tmp_path, monkeypatch, capsys):
    write_dicom(tmp_path / "ear 1.2", noisy_scan())
    monkeypatch.chdir(tmp_path / "ear 1.2")
    assert run(".", "-o", tmp_path / "out", "--series", 4) == 0
    assert "ear 1.2_result.json" in os.listdir(tmp_path / "out")
    everything = b"".join(file.read_bytes() for file in (tmp_path / "out").iterdir())
    assert b"Doe" not in everything
    assert "Doe" not in capsys.readouterr().out


def test_reading_time_stands_among_the_seconds(tmp_path, scan):
    run(scan, "-o", tmp_path / "out")
    seconds = json.loads((tmp_path / "out" / "scan_result.json").read_text(encoding="utf-8"))["seconds"]
    assert set(seconds) == {"reading", "predicting"}
    assert seconds["reading"] >= 0


def test_models_are_listed_with_what_they_were_trained_on(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("INNEREARAI_MODELS", str(tmp_path))
    assert cli.main(["models"]) == 0
    assert "No model" in capsys.readouterr().err
