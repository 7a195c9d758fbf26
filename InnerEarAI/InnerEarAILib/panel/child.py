"""A child process of Slicer's Python that is looked at now and then, by a timer, and never waited for.

Its output goes to files and not to pipes: no thread has to read them, and the log is at hand whatever happens.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import slicer

from InnerEarAILib.json_lines import BEGIN, CANCEL

LIBRARY_PARENT = Path(__file__).resolve().parents[2]

EVENTS_FILE = "events.jsonl"
LOG_FILE = "log.txt"

GRACE_SECONDS = 0.6
"""A child that was asked to stop and still runs after so long is killed: in the middle of a tile it hears nothing."""

FILES_HELD_SECONDS = 0.3
"""How long to wait before the files of a child that has ended are removed once more."""


def python_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the library in Slicer's Python.

    Args:
        module: its full name.
        arguments: of the module.
    """
    # In the application sys.executable may be the application itself.
    return [shutil.which("PythonSlicer") or sys.executable, "-m", module, *arguments]


def temporary_folder(prefix: str) -> Path:
    """A new folder for a child: where Slicer is set to keep temporary files, else where the system does.

    Args:
        prefix: of its name.

    Raises:
        OSError: if it cannot be made.
    """
    of_slicer = getattr(getattr(slicer, "app", None), "temporaryPath", "")
    return Path(tempfile.mkdtemp(prefix=prefix, dir=of_slicer if os.path.isdir(of_slicer) else None))


def remove_folder(folder: Path) -> None:
    """Removes the folder of a child that has ended; what cannot be removed stays.

    Args:
        folder: as Child was given it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # On Windows the Python behind the launcher holds its files a moment longer than the launcher lives.
        time.sleep(FILES_HELD_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


class Child:
    """A running child process that speaks the lines of `json_lines`.

    Usage::

        child = Child(python_command("InnerEarAILib.worker", str(folder)), folder)
        while not child.ended():
            for event in child.new_events():
                ...

    Args:
        command: program and arguments.
        folder: exists; takes the files of output and log.

    Raises:
        OSError: if the program cannot be started.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self._folder = folder
        self._read_bytes = 0
        self._unfinished_line = b""
        self._cancelled_at: float | None = None
        hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if os.name == "nt" else {"start_new_session": True}
        paths = [str(LIBRARY_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
        with open(folder / EVENTS_FILE, "wb") as events, open(folder / LOG_FILE, "wb") as log:
            self._process = subprocess.Popen(
                list(command),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=events,
                stderr=log,
                # Not Slicer's, which may hold modules of the names of Python's own.
                cwd=LIBRARY_PARENT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"},
                **hidden,
            )
        self._say(BEGIN)

    def new_events(self) -> list[dict[str, Any]]:
        """The lines that have come since the last call, oldest first; a line is told of when it is whole.

        What something else has printed there is passed over.
        """
        with open(self._folder / EVENTS_FILE, "rb") as file:
            file.seek(self._read_bytes)
            piece = file.read()
        self._read_bytes += len(piece)
        *whole, self._unfinished_line = (self._unfinished_line + piece).split(b"\n")
        return [event for event in map(_event, whole) if event is not None]

    def ended(self) -> bool:
        """Whether the process is over. One that was asked to stop is killed here when its time is up."""
        if self._process.poll() is not None:
            return True
        if self._cancelled_at is not None and time.monotonic() - self._cancelled_at > GRACE_SECONDS:
            self.kill()
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal (POSIX; the launcher PythonSlicer ends with 1 instead)."""
        return self._process.poll()

    def cancel(self) -> None:
        """Asks the process to stop; after GRACE_SECONDS `ended` makes it stop."""
        if self._cancelled_at is not None:
            return
        self._cancelled_at = time.monotonic()
        self._say(CANCEL)

    def _say(self, word: bytes) -> None:
        # Where it has ended already, there is nobody to hear it.
        with suppress(OSError):
            self._process.stdin.write(word)

    def kill(self) -> None:
        """Ends the process and all that it has started, and waits until it is gone."""
        if self._process.poll() is None:
            if os.name == "nt":
                kill_tree = ["taskkill", "/PID", str(self._process.pid), "/T", "/F"]
                subprocess.run(kill_tree, creationflags=subprocess.CREATE_NO_WINDOW, capture_output=True, check=False)
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()

    def log(self) -> str:
        """Its standard error so far."""
        return (self._folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
