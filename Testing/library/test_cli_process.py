"""The command line in a process of its own: signals, streams, and what is imported when."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from InnerEarAILib import cli
from InnerEarAILib.scan_files import write_volume
from library.scans import noisy_scan

LIBRARY = Path(cli.__file__).parents[1]


@pytest.fixture
def scan(tmp_path):
    write_volume(tmp_path / "scan.nrrd", noisy_scan())
    return tmp_path / "scan.nrrd"


def shell(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(LIBRARY), **options},
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_ctrl_c_ends_cleanly(tmp_path, scan):
    script = """
import signal, sys, time
from InnerEarAILib import cli
from library.scans import FakeSegmenter

# Whoever started the tests may have them ignore Ctrl-C (nohup, a job in the background); a terminal does not.
signal.signal(signal.SIGINT, signal.default_int_handler)

def answer(volume, progress):
    progress.step("Predicting", 0.6)
    time.sleep(30)

sys.exit(cli.main(["segment", sys.argv[1], "-o", sys.argv[2]], FakeSegmenter(answer)))
"""
    path = os.pathsep.join((str(LIBRARY), str(Path(__file__).parents[1])))
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(scan), str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    while b"Predicting" not in child.stdout.readline():
        pass
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert error == b"scan: Cancelled; nothing was written.\n"
    assert os.listdir(tmp_path) == ["scan.nrrd"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is of Linux")
@pytest.mark.parametrize("command", ["models", "--help"])
def test_a_full_disk_under_the_log_is_no_failure(command):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "InnerEarAILib", command],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(LIBRARY)},
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_while_the_library_is_imported_is_one_word():
    script = """
import signal, sys

class Interrupted:
    def find_spec(self, name, *arguments):
        if name == "numpy":
            signal.raise_signal(signal.SIGINT)
            raise ImportError("numpy was imported halfway")

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupted())
from InnerEarAILib.__main__ import run
sys.exit(run())
"""
    done = shell("-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"Cancelled.\n")


def test_help_does_not_import_torch():
    script = (
        "import sys; from InnerEarAILib import cli; code = cli.main(['--help']); "
        "sys.exit(code or 'torch' in sys.modules or 'slicer' in sys.modules)"
    )
    done = shell("-c", script)
    assert done.returncode == 0, done.stderr
    assert b"segment" in done.stdout


def test_module_runs_and_a_log_in_ascii_does_not_stop_it(tmp_path):
    done = shell("-m", "InnerEarAILib", "segment", str(tmp_path / "no such scan × “ß”.nrrd"), "-o", str(tmp_path / "o"),
                 PYTHONIOENCODING="ascii", PYTHONUTF8="0")  # fmt: skip
    assert done.returncode == 2
    assert b"There is no file" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
