"""One segmentation in a child process: what goes in, where it stands, how it ended."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from slicer.i18n import tr as _

from InnerEarAILib.ear_result import ScanResult
from InnerEarAILib.panel.child import Child, python_command, remove_folder, temporary_folder
from InnerEarAILib.scan_result_files import read_scan_result
from InnerEarAILib.volume import Volume
from InnerEarAILib.worker import write_job

LAUNCHER_FAILURE = 1
"""What PythonSlicer ends with on every system when the Python that it has launched is killed or crashes."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        kind: "done", or why there is no result: a kind of failures.Failure, or "crash".
        sentence: for the user, with a way out; empty where it is done.
        result: None unless it is done.
    """

    kind: Literal["done", "input", "model", "memory", "cancelled", "unexpected", "crash"]
    sentence: str = ""
    result: ScanResult | None = None


class Run:
    """A segmentation that goes on by itself; `poll` says now and then where it stands.

    Usage::

        run = Run(volume, {"preset": "fast"})
        while (outcome := run.poll()) is None:
            print(run.step, run.fraction)
        run.close()

    Args:
        volume: the scan.
        options: fields of SegmenterOptions.
        may_use_gpu: whether a GPU may be what computes; the way out of too little memory depends on it.

    Raises:
        OSError: if the job cannot be written or the process not be started; nothing is left behind.

    Attributes:
        step: what it does now, in words.
        fraction: how much of that step is done, 0 to 1.
        notes: what the user should know of, so far.
    """

    def __init__(self, volume: Volume, options: Mapping[str, Any], may_use_gpu: bool = True) -> None:
        self.step, self.fraction = "", 0.0
        self.notes: list[str] = []
        self.options = dict(options)
        self._may_use_gpu = may_use_gpu
        self._begin = time.monotonic()
        self._step_begin = self._begin
        self._last: dict[str, Any] = {}
        self._final_log = ""
        self._cancelled = False
        self._folder = temporary_folder("InnerEarAI-")
        try:
            job = self._folder / "job"
            job.mkdir()
            write_job(job, volume, options)
            command = python_command("InnerEarAILib.worker", str(job))
            self._child: Child | None = Child(command, self._folder)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin

    def step_seconds_left(self) -> float | None:
        """How long this step will still take, by its pace so far; None where that cannot be told."""
        if not 0.02 < self.fraction < 1:
            return None
        return (time.monotonic() - self._step_begin) * (1 - self.fraction) / self.fraction

    def poll(self) -> Outcome | None:
        """Takes in what the process has said; gives the outcome once it is over, and None before."""
        if self._child is None:
            return Outcome("cancelled", _("Cancelled."))
        # In this order: what it said before it ended must not be missed.
        ended = self._child.ended()
        for event in self._child.new_events():
            self._take_in(event)
        if not ended:
            return None
        if self._cancelled:
            return Outcome("cancelled", _("Cancelled; nothing was added to the scene."))
        if self._last.get("event") == "result":
            return self._with_result(Path(self._last["path"]))
        if self._last.get("event") == "error":
            return Outcome(self._last["kind"], _with_way_out(self._last, self._may_use_gpu))
        return Outcome("crash", _crash_sentence(self._child.exit_code, self._child.log()))

    def cancel(self) -> None:
        """Stops the work; `poll` gives the outcome within a second."""
        self._cancelled = True
        if self._child is not None:
            self._child.cancel()

    def log(self) -> str:
        """What the process wrote beside its reports; for a report of a fault."""
        return self._final_log if self._child is None else self._child.log()

    def close(self) -> None:
        """Ends the process if it still runs, and removes its files; the log stays readable."""
        if self._child is not None:
            self._child.kill()
            self._final_log = self._child.log()
            self._child = None
        remove_folder(self._folder)

    def _take_in(self, event: dict[str, Any]) -> None:
        if event["event"] == "step":
            if event["step"] != self.step or event["fraction"] < self.fraction:
                self._step_begin = time.monotonic()
            self.step, self.fraction = event["step"], event["fraction"]
        elif event["event"] == "note":
            self.notes.append(event["sentence"])
        else:
            self._last = event

    def _with_result(self, path: Path) -> Outcome:
        try:
            return Outcome("done", result=read_scan_result(path))
        except (OSError, ValueError) as error:
            return Outcome("crash", _("The result could not be read ({error}); run it again.").format(error=error))


def _python_error(log: str) -> str:
    """The error under the last traceback of a log; "" where it ends with none, as when a process is killed."""
    lines = log.strip().splitlines()
    if not lines or not any(line.startswith("Traceback (most recent call last)") for line in lines):
        return ""
    return lines[-1] if re.match(r"[\w.]+(Error|Exception)\b", lines[-1]) else ""


def _with_way_out(error: Mapping[str, Any], may_use_gpu: bool) -> str:
    if error["kind"] == "memory":
        if may_use_gpu:
            return _(
                "The memory of the GPU or of the computer was too small: choose the CPU as device, crop the scan to "
                "the temporal bone, choose one view, or close other programs."
            )
        return _(
            "The computer's memory was too small: crop the scan to the temporal bone, choose one view, or close other "
            "programs."
        )
    if error["kind"] == "unexpected":
        return _("{sentence} The log says more; please report it.").format(sentence=error["sentence"])
    return error["sentence"]


def _crash_sentence(exit_code: int, log: str) -> str:
    if error := _python_error(log):
        return _(
            "The computation broke off, Slicer did not: {error}. Start it again; if it happens again, report it with "
            "the log."
        ).format(error=error)
    # The worker says every error of its own before it ends: without a word, it was ended from outside or has crashed.
    if exit_code < 0 or exit_code == LAUNCHER_FAILURE:
        return _(
            "The computation crashed or was ended by the system (exit code {code}), Slicer was not; most likely memory "
            "ran out: crop the scan to the temporal bone, choose one view or another device, or close other programs; "
            "if it happens again, report it with the log."
        ).format(code=exit_code)
    return _(
        "The computation crashed (exit code {code}), Slicer did not: start it again, or choose another device; if it "
        "happens again, report it with the log."
    ).format(code=exit_code)
