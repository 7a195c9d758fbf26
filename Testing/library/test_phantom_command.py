"""The command “phantom” of the shell."""

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from InnerEarAILib.cli import main
from InnerEarAILib.phantom import command, phantom, scanner, temporal_bone_parameters, tissue
from InnerEarAILib.phantom.anatomy import PhantomEar, Rendering

LIBRARY = Path(command.__file__).parents[2]


class Block:
    """Bone with a slit of lumen; an ear without landmarks."""

    ears = (PhantomEar("right", {}, {}),)

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


def test_phantoms_of_one_ear_are_a_data_set(tmp_path):
    for seed in ("4", "7"):
        assert main(["phantom", "-o", str(tmp_path), "--seed", seed, "--side", "left"]) == 0
    for side in ("left", "right"):  # of a head
        (tmp_path / f"phantom_000009_{side}.mrk.json").touch()
    (tmp_path / "phantom_000009_labels.nrrd").touch()
    cases = tomllib.loads((tmp_path / "phantoms.toml").read_text(encoding="utf-8"))["case"]
    assert [case["name"] for case in cases] == ["phantom_000004", "phantom_000007"]
    assert all((tmp_path / case[key]).is_file() for case in cases for key in ("scan", "labels", "landmarks"))
    command.write_manifest(tmp_path)
    assert len(tomllib.loads((tmp_path / "phantoms.toml").read_text(encoding="utf-8"))["case"]) == 2


def test_a_bad_file_ends_in_one_sentence_and_exit_code_2(tmp_path, capsys):
    arguments = ["phantom", "-o", str(tmp_path / "out"), "--side", "left", "--labyrinth", str(tmp_path / "none.ply")]
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert "none.ply does not exist" in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments", [["--scanner", "xray"], ["--count", "-1"], ["--state", "frozen"], ["--variant", "mumps"]]
)
def test_a_bad_argument_ends_in_exit_code_2(tmp_path, capsys, arguments):
    assert main(["phantom", "-o", str(tmp_path), *arguments]) == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_command_offers_what_the_phantom_knows():
    assert command.SCANNERS == scanner.SCANNER_KINDS
    assert command.STATES == tissue.STATES
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
    assert main(["phantom", "-o", str(tmp_path), "--scanner", "micro", "--device", "cuda:1"]) == 2
    assert seen == [(0, "micro", "cuda:1")]
    assert np.array_equal(list(tmp_path.iterdir()), [])
