"""The command “phantom” of the shell."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from InnerEarAILib.cli import main
from InnerEarAILib.inference import device
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom import command, phantom, samples, scanner, temporal_bone_parameters
from InnerEarAILib.phantom.anatomy import PhantomEar, Rendering
from InnerEarAILib.training.manifest import data_mistakes, read_manifest
from library.unwritable import Unwritable

LIBRARY = Path(command.__file__).parents[2]


LANDMARKS = {name: np.array([0.0, place, 0.0]) for place, name in enumerate(LANDMARK_NAMES)}


class Block:
    """Bone with a slit of lumen."""

    def __init__(self, landmarks=LANDMARKS):
        self.ears = (PhantomEar("right", landmarks, {}),)

    def render(self, points, edge_mm):
        share = (0.5 + (1 - points[:, 0].abs()) / edge_mm).clamp(0, 1)
        return Rendering(2000 - 2000 * share, share, torch.zeros(len(points), dtype=torch.uint8))


@pytest.fixture(autouse=True)
def simple_bone(monkeypatch):
    monkeypatch.setattr(phantom, "sample_temporal_bone", lambda rng, variant, state: Block())
    monkeypatch.setattr(phantom, "FIELD_MM", dict.fromkeys(scanner.SCANNER_KINDS, 12.0))


def test_phantoms_are_written_with_rising_seeds(tmp_path, capsys):
    assert main(["phantom", "-o", str(tmp_path), "--seed", "4", "--count", "2", "--side", "left"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"phantom_000004.nrrd", "phantom_000005.nrrd", "phantom_000005_left.mrk.json"} <= names
    assert capsys.readouterr().out.split() == ["phantom_000004", "phantom_000005"]


def test_a_log_that_nobody_reads_any_longer_does_not_stop_the_drawing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Unwritable(1))
    assert main(["phantom", "-o", str(tmp_path), "--count", "3", "--side", "left"]) == 0
    assert (tmp_path / "phantom_000002.nrrd").is_file()


def test_phantoms_of_one_ear_are_a_data_set(tmp_path):
    for seed in ("4", "7"):
        assert main(["phantom", "-o", str(tmp_path), "--seed", seed, "--side", "left"]) == 0
    for side in ("left", "right"):  # of a head
        (tmp_path / f"phantom_000009_{side}.mrk.json").touch()
    (tmp_path / "phantom_000009_labels.nrrd").touch()
    cases = tomllib.loads((tmp_path / "phantoms.toml").read_text(encoding="utf-8"))["case"]
    assert [case["name"] for case in cases] == ["phantom_000004", "phantom_000007"]
    assert not any("unmarked" in case for case in cases)
    assert all((tmp_path / case[key]).is_file() for case in cases for key in ("scan", "labels", "landmarks"))
    command.write_manifest(tmp_path)
    listed = tomllib.loads((tmp_path / "phantoms.toml").read_text(encoding="utf-8"))
    assert (len(listed["case"]), listed["name"]) == (2, f"Drawn temporal bones, {tmp_path.name}")


def test_a_phantom_without_landmarks_is_left_out_of_the_data_set_and_the_others_can_be_used(
    tmp_path, monkeypatch, capsys
):
    some = {name: LANDMARKS[name] for name in ("helicotrema", "round window")}
    for seed, landmarks in (("4", {}), ("5", some), ("6", LANDMARKS)):
        monkeypatch.setattr(phantom, "sample_temporal_bone", lambda rng, variant, state, marks=landmarks: Block(marks))
        assert main(["phantom", "-o", str(tmp_path), "--seed", seed, "--side", "right"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Without landmarks, and so not in phantoms.toml: phantom_000004."
    cases = read_manifest(tmp_path / "phantoms.toml").cases
    assert [(case.name, case.unmarked) for case in cases] == [
        ("phantom_000005", ("oval window",)),
        ("phantom_000006", ()),
    ]
    assert data_mistakes(cases) == []


def test_phantoms_that_all_lack_landmarks_are_no_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(phantom, "sample_temporal_bone", lambda rng, variant, state: Block({}))
    assert main(["phantom", "-o", str(tmp_path)]) == 0
    assert not (tmp_path / "phantoms.toml").exists()


def test_a_bad_file_ends_in_one_sentence_and_exit_code_2(tmp_path, capsys):
    arguments = ["phantom", "-o", str(tmp_path / "out"), "--side", "left", "--labyrinth", str(tmp_path / "none.ply")]
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert "none.ply does not exist" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [["--scanner", "xray"], ["--count", "-1"], ["--count", "0"], ["--state", "frozen"], ["--variant", "mumps"]],
)
def test_a_bad_argument_ends_in_exit_code_2(tmp_path, capsys, arguments):
    assert main(["phantom", "-o", str(tmp_path), *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


def test_an_output_that_is_a_file_is_said_before_anything_is_drawn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(phantom, "draw_phantom", None)
    (tmp_path / "out").touch()
    assert main(["phantom", "-o", str(tmp_path / "out")]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err


def test_the_command_offers_what_the_phantom_knows():
    assert command.SIDES == phantom.SIDE_CHOICES
    assert command.VARIANTS == temporal_bone_parameters.VARIANTS


def test_the_command_is_imported_without_torch():
    program = "import sys, InnerEarAILib.phantom.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=LIBRARY, check=False).returncode == 0


def test_the_device_is_passed_on(tmp_path, monkeypatch):
    seen = []

    def draw(seed, options, device):
        seen.append((seed, options.scanner, device))
        raise phantom.InputError("enough")

    monkeypatch.setattr(phantom, "draw_phantom", draw)
    monkeypatch.setattr(device, "choose_device", torch.device)
    assert main(["phantom", "-o", str(tmp_path), "--scanner", "micro", "--device", "cuda:1"]) == 2
    assert seen == [(0, "micro", "cuda:1")]
    assert np.array_equal(list(tmp_path.iterdir()), [])


@pytest.mark.parametrize("asked", ["cuda:99", "abacus"])
def test_a_device_that_cannot_be_used_is_one_sentence_and_code_2(tmp_path, capsys, asked):
    assert main(["phantom", "-o", str(tmp_path / "out"), "--device", asked]) == 2
    said = capsys.readouterr().err
    assert asked in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("error", "shown"), [(ValueError("operands"), True), (phantom.InputError("The disk is full."), False)]
)
def test_the_drawing_process_shows_where_a_mistake_of_the_program_is(tmp_path, capfd, monkeypatch, error, shown):
    def draw(progress):
        raise error

    monkeypatch.setattr(phantom, "embedded_phantom", draw)
    assert samples.main(["ear", str(tmp_path / "ear.nrrd")]) == (1 if shown else 2)
    said = capfd.readouterr().err
    assert str(error) in said
    assert ("Traceback" in said) == shown
