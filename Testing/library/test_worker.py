"""The child process: its lines, its result, and how it is stopped."""

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from InnerEarAILib import worker
from InnerEarAILib.json_lines import JsonLines
from InnerEarAILib.model_store import save_model
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.scan_result_files import read_scan_result
from InnerEarAILib.volume import InputError, Volume
from InnerEarAILib.worker import read_job, write_job
from library.reading_models import CARD
from library.scans import affine, noisy_scan, painted_ear, scan_result
from library.test_result_files import assert_same

LIBRARY = Path(worker.__file__).parents[1]
TESTING = Path(__file__).parents[1]

CHILD = """
import os, sys, time
from InnerEarAILib import worker
from InnerEarAILib.json_lines import JsonLines
from InnerEarAILib.model_store import save_model
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.volume import InputError
from library.scans import FakeSegmenter, painted_ear, scan_result

def answer(volume, progress):
{body}

sys.exit(worker.main([sys.argv[1]], FakeSegmenter(answer)))
"""


def start(folder, body):
    """A child that answers by a function of this body."""
    script = CHILD.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    "))
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(LIBRARY), str(TESTING)))},
    )


def finish(child):
    """Its events, exit code and standard error; standard input stays open to the end."""
    output, error = child.stdout.read(), child.stderr.read()
    code = child.wait(timeout=60)
    child.communicate()
    return [json.loads(line) for line in output.decode("utf-8").splitlines()], code, error.decode()


@pytest.fixture
def job(tmp_path):
    write_job(tmp_path, noisy_scan(affine((10, 20, 30), (1 / 3, 0.4, 0.5))), {"preset": "fast"})
    return tmp_path


def test_job_arrives_to_the_last_bit(tmp_path):
    matrix = affine((12, 34, 56), (1 / 3, 0.1, np.pi), (1 / 7, -1e-17, 1e3))
    volume = Volume(np.random.default_rng(0).normal(size=(4, 5, 6)), matrix, "ear ß")
    write_job(tmp_path, volume, {"preset": "fast", "views": 1})
    again, options = read_job(tmp_path)
    assert_same(again, volume)
    assert options == {"preset": "fast", "views": 1}


def test_result_equals_that_of_the_same_process(job):
    events, code, _ = finish(
        start(job, 'return scan_result([painted_ear("right", (1, 2, 3))], volume.name, volume.grid)')
    )
    assert code == 0
    assert events[-1]["event"] == "result"
    volume, _ = read_job(job)
    expected = scan_result([painted_ear("right", (1, 2, 3))], "scan", volume.grid)
    assert_same(read_scan_result(Path(events[-1]["path"])), expected)


def test_a_scan_without_ears_is_a_result_too(job):
    events, code, _ = finish(start(job, "return scan_result([])"))
    assert code == 0
    assert read_scan_result(Path(events[-1]["path"])).ears == ()


def test_steps_and_notes_arrive_in_order_with_the_time(job):
    body = """
    progress.step("Predicting", 0.75)
    progress.note("Größe: 3 × 4")
    progress.step("Drawing", 1.0)
    return scan_result([])
    """
    events, _, _ = finish(start(job, body))
    steps = [event for event in events if event["event"] == "step"]
    assert [step["step"] for step in steps] == ["Reading the scan", "Predicting", "Drawing", "Handing over the result"]
    assert {"event": "note", "sentence": "Größe: 3 × 4"} in events
    seconds = [step["seconds"] for step in steps]
    assert seconds == sorted(seconds)
    assert steps[1]["fraction"] == 0.5


def test_what_libraries_print_does_not_disturb_the_lines(job):
    body = """
    print("from Python")
    os.system("echo from another process")
    return scan_result([])
    """
    events, code, error = finish(start(job, body))
    assert code == 0
    assert events[-1]["event"] == "result"
    assert "from Python" in error
    assert "from another process" in error


@pytest.mark.parametrize(
    ("body", "kind", "words", "code"),
    [
        ('raise InputError("The scan is a knee.")', "input", "a knee", 2),
        ("raise MemoryError", "memory", "not enough memory", 1),
        ("raise ZeroDivisionError('bug')", "unexpected", "ZeroDivisionError: bug", 1),
    ],
)
def test_failure_is_the_last_line_and_leaves_no_result(job, body, kind, words, code):
    events, ended, error = finish(start(job, body))
    assert ended == code
    assert events[-1]["event"] == "error"
    assert events[-1]["kind"] == kind
    assert words in events[-1]["sentence"]
    assert ("Traceback" in error) == (kind == "unexpected")
    assert sorted(os.listdir(job)) == ["job.json", "voxels.npy"]


LONG = """
while True:
    progress.step("Predicting", 0.1)
    time.sleep(0.02)
"""


def first_prediction(child):
    while b"Predicting" not in child.stdout.readline():
        pass


@pytest.mark.parametrize(
    "word", [b"begin\ncancel\n", b"cancel\r\n", b"begin\n"], ids=["cancel", "cancel on Windows", "parent gone"]
)
def test_a_word_or_the_end_of_input_stops_the_work(job, word):
    child = start(job, LONG)
    first_prediction(child)
    child.stdin.write(word)
    child.stdin.flush()
    if b"cancel" not in word:
        child.stdin.close()
        child.stdin = None
    output = child.stdout.read()
    assert child.wait(timeout=60) == 130
    assert json.loads(output.splitlines()[-1])["kind"] == "cancelled"
    assert sorted(os.listdir(job)) == ["job.json", "voxels.npy"]
    child.communicate()


@pytest.mark.parametrize("ends", [False, True], ids=["other words", "an input that a launcher kept to itself"])
def test_what_is_no_word_to_stop_does_not_stop_the_work(job, ends):
    child = start(job, LONG)
    first_prediction(child)
    if ends:
        child.stdin.close()
        child.stdin = None
    else:
        child.stdin.write(b"begin\nhello\n")
        child.stdin.flush()
    for _ in range(3):
        assert json.loads(child.stdout.readline())["event"] == "step"
    child.kill()
    child.communicate()


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
def test_killing_the_process_leaves_no_result(job):
    child = start(job, LONG)
    first_prediction(child)
    child.send_signal(signal.SIGTERM)
    assert child.wait(timeout=60) != 0
    child.communicate()
    assert sorted(os.listdir(job)) == ["job.json", "voxels.npy"]


@pytest.mark.parametrize("damage", ["missing", "cut off", "no JSON", "no key"])
def test_incomplete_job_is_refused(tmp_path, damage):
    write_job(tmp_path, noisy_scan(), {})
    voxels, description = tmp_path / "voxels.npy", tmp_path / "job.json"
    if damage == "missing":
        voxels.unlink()
    elif damage == "cut off":
        voxels.write_bytes(voxels.read_bytes()[:-100])
    else:
        description.write_text("{" if damage == "no JSON" else "{}")
    with pytest.raises(InputError, match="no whole job"):
        read_job(tmp_path)


def test_steps_in_quick_succession_are_thinned_out():
    output = io.StringIO()
    lines = JsonLines(output, 0.0)
    for n in range(1000):
        lines.step("Predicting", n / 1000)
    lines.step("Predicting", 1.0)
    events = [json.loads(line) for line in output.getvalue().splitlines()]
    assert len(events) < 50
    assert events[0]["fraction"] == 0
    assert events[-1]["fraction"] == 1


def probe(models):
    """A probe with the models of a folder; see finish."""
    return finish(
        subprocess.Popen(
            [sys.executable, "-m", "InnerEarAILib.worker", worker.PROBE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(LIBRARY), "INNEREARAI_MODELS": str(models)},
        )
    )


def test_the_probe_names_the_devices_and_how_fast_every_model_is(tmp_path):
    config = DualHeadUNetConfig(widths=(4, 6, 8))
    card = replace(CARD, network=config.to_dict(), tile_voxels=16, overlap_voxels=4, validated_on="x", limits="x")
    for name, role in (("clinical", "segmenter"), ("locator", "locator")):
        save_model(tmp_path, replace(card, name=name, role=role), DualHeadUNet(config))
    events, code, log = probe(tmp_path)
    assert code == 0, log
    assert events[1]["event"] == "started"
    assert events[-1]["event"] == "probed"
    names = [event["name"] for event in events if event["event"] == "device"]
    assert names[-1] == "cpu"
    assert (len(names) == 1) == any(event["event"] == "no_gpu" for event in events)
    speeds = [event for event in events if event["event"] == "speed"]
    assert {(speed["model"], speed["device"]) for speed in speeds} == {
        (model, device) for model in ("clinical", "locator") for device in names
    }
    assert all(speed["seconds_per_tile"] > 0 for speed in speeds)


def test_a_probe_without_usable_models_says_why(tmp_path):
    (tmp_path / "clinical").mkdir()
    (tmp_path / "clinical" / "model.json").write_text("{")
    events, code, _ = probe(tmp_path)
    assert (events[-1]["event"], events[-1]["kind"]) == ("error", "model")
    assert code == 2
