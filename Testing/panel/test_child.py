"""The child process alone: lines, log, and its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import slicer

from InnerEarAILib.panel import child as child_module
from InnerEarAILib.panel.child import Child, python_command, remove_folder
from InnerEarAILib.panel.probe import Probe
from InnerEarAILib.panel.run import Run
from library.scans import noisy_scan


def started(folder, script):
    return Child([sys.executable, "-c", script], folder)


def ended(child):
    begin = time.monotonic()
    while not child.ended():
        assert time.monotonic() - begin < 30
        time.sleep(0.01)
    return child


def lives(pid):
    """Whether a process computes on; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_line_is_told_of_once_and_when_it_is_whole(tmp_path):
    script = """
import sys, time
sys.stdout.write('{"event": "st'); sys.stdout.flush(); time.sleep(0.3)
sys.stdout.write('ep"}\\n{"event": "note", "sentence": "Größe"}\\n{"half'); sys.stdout.flush()
"""
    child = started(tmp_path, script)
    seen = []
    while not child.ended():
        seen += child.new_events()
    seen += child.new_events()
    assert seen == [{"event": "step"}, {"event": "note", "sentence": "Größe"}]
    assert child.new_events() == []
    assert child.exit_code == 0


def test_the_library_is_found_whatever_folder_slicer_is_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Modules there must not stand in for Python's own.
    (tmp_path / "random.py").write_text("raise SystemExit('not this one')")
    child = ended(Child(python_command("InnerEarAILib.worker", str(tmp_path / "no job")), tmp_path))
    assert "not this one" not in child.log()
    assert child.new_events()[-1]["event"] == "error"


def test_what_something_else_prints_among_the_lines_is_passed_over(tmp_path):
    lines = ["Loading…", '{"event": "note", "sentence": "a"}', "12", "{}", '{"event": "done"}']
    child = ended(started(tmp_path, "\n".join(f"print({line!r})" for line in lines)))
    assert [event["event"] for event in child.new_events()] == ["note", "done"]


def test_the_log_is_kept_apart_from_the_lines(tmp_path):
    child = ended(started(tmp_path, "import sys; print('a traceback', file=sys.stderr)"))
    assert child.new_events() == []
    assert "a traceback" in child.log()


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at processes in /proc")
def test_killing_takes_what_the_child_has_started_along(tmp_path):
    script = """
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print('{"event": "started", "pid": %d}' % grandchild.pid, flush=True)
time.sleep(60)
"""
    child = started(tmp_path, script)
    events = []
    while not events:
        events = child.new_events()
        time.sleep(0.01)
    child.kill()
    begin = time.monotonic()
    while lives(events[0]["pid"]):
        assert time.monotonic() - begin < 30
        time.sleep(0.01)


def test_cancelling_twice_or_after_the_end_does_nothing(tmp_path):
    child = ended(started(tmp_path, "pass"))
    child.cancel()
    child.cancel()
    child.kill()
    assert child.exit_code == 0


def test_in_slicer_its_own_python_runs_the_module(monkeypatch):
    assert python_command("a.b", "c") == [sys.executable, "-m", "a.b", "c"]
    monkeypatch.setattr("shutil.which", lambda name: f"/slicer/bin/{name}")
    assert python_command("a.b")[0] == "/slicer/bin/PythonSlicer"


def test_a_folder_whose_files_are_held_a_moment_longer_goes_in_the_end(tmp_path, monkeypatch):
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "voxels.npy").write_bytes(b"0")
    attempts, waits = [], []

    def rmtree(path, ignore_errors):
        attempts.append(path)
        if len(attempts) == 2:
            remove(path)

    remove = child_module.shutil.rmtree
    monkeypatch.setattr(child_module.shutil, "rmtree", rmtree)
    monkeypatch.setattr(child_module.time, "sleep", waits.append)
    remove_folder(folder)
    assert not folder.exists()
    assert 0 < sum(waits) < 1


def test_a_folder_that_is_free_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(child_module.time, "sleep", lambda seconds: pytest.fail("waited"))
    remove_folder(tmp_path)
    assert not tmp_path.exists()


@pytest.mark.parametrize("there", [True, False], ids=["is there", "is not there"])
def test_the_files_of_a_child_lie_where_slicer_keeps_temporary_ones(host, tmp_path, monkeypatch, there):
    of_slicer, of_system = tmp_path / "Slicer", tmp_path / "system"
    of_system.mkdir()
    if there:
        of_slicer.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(of_system))
    monkeypatch.setattr(type(slicer.app), "temporaryPath", str(of_slicer))
    children = [Run(noisy_scan(), {}), Probe()]
    begun = list((of_slicer if there else of_system).glob("InnerEarAI-*"))
    for one in children:
        one.close()
    assert len(begun) == len(children)
    assert [*tmp_path.rglob("InnerEarAI-*")] == []
