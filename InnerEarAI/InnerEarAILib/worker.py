"""The child process that computes a result for a panel, so that nothing that happens in it can take the panel down.

The parent makes an empty folder, fills it by `write_job`, and starts `python -m InnerEarAILib.worker FOLDER` with pipes
for standard input and output. From then on:

child → parent, on standard output, one JSON object a line, UTF-8:
    {"event": "step", "step": "Predicting", "fraction": 0.25, "seconds": 3.1}   seconds since the start
    {"event": "note", "sentence": "The GPU's memory was too small; …"}
    {"event": "result", "path": "FOLDER/result.npz", "seconds": 20.4}           read it by `read_scan_result`
    {"event": "error", "kind": "input", "sentence": "The scan is …"}            kinds: see failures.Failure
The last line is a result or an error; where it is neither, the process was killed or has crashed. A result may be
without ears. Exit codes are those of the command line (failures.py). Standard error is free text: a log to keep
where the kind is "unexpected".

parent → child, on standard input:
    cancel                                                                       stop at the next tile
The end of standard input means the same, so that no child outlives its parent. Killing the process is safe too:
result.npz is there whole or not at all.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_DONE, failure_of
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_result_files import write_scan_result
from InnerEarAILib.volume import InputError, Volume

JOB_FILE = "job.json"
VOXELS_FILE = "voxels.npy"
RESULT_FILE = "result.npz"

LEAST_SECONDS_BETWEEN_STEPS = 0.1
"""Steps that follow each other faster are left out, unless the step is another one or done; ours."""


def write_job(folder: Path, volume: Volume, options: Mapping[str, Any]) -> None:
    """Leaves a job for a child process; the volume arrives there to the last bit.

    Args:
        folder: exists and is empty; it belongs to this job alone.
        volume: the scan, with its name.
        options: fields of segmenter.SegmenterOptions (a mapping, so that the parent need not import torch).

    Raises:
        OSError: if the folder cannot be written to.
    """
    np.save(folder / VOXELS_FILE, volume.voxels, allow_pickle=False)
    job = {"name": volume.name, "affine_lps": volume.affine_lps.tolist(), "options": dict(options)}
    (folder / JOB_FILE).write_text(json.dumps(job), encoding="utf-8")


def read_job(folder: Path) -> tuple[Volume, dict[str, Any]]:
    """The volume and the options of a job.

    Raises:
        InputError: if the folder holds no whole job.
    """
    try:
        job = json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))
        voxels = np.load(folder / VOXELS_FILE, allow_pickle=False)
        return Volume(voxels, np.array(job["affine_lps"]), job["name"]), job["options"]
    except InputError:
        raise
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"The folder {folder.name} holds no whole job; start the segmentation again.") from error


def main(arguments: Sequence[str] | None = None, segmenter: Any = None) -> int:
    """Does the job in a folder and reports on standard output.

    Args:
        arguments: the folder; None takes the process's own arguments.
        segmenter: offers `segment` and `SegmenterOptions` as the module segmenter does, which None stands for.

    Returns:
        The exit code.
    """
    begin = time.monotonic()
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("usage: python -m InnerEarAILib.worker FOLDER", file=sys.stderr)
        return EXIT_BAD_INPUT
    folder = Path(arguments[0])
    cancelled = threading.Event()
    with _own_output() as output:
        lines = _Lines(output, begin)
        threading.Thread(target=_listen, args=(cancelled,), daemon=True).start()
        try:
            lines.step("Reading the scan", 0.0)
            volume, options = read_job(folder)
            if segmenter is None:
                lines.step("Starting", 0.0)
                from InnerEarAILib import segmenter
            progress = Progress(lines.step, lines.note, cancelled.is_set)
            result = segmenter.segment(volume, segmenter.SegmenterOptions(**options), progress)
            progress.step("Handing over the result")
            write_scan_result(folder / RESULT_FILE, result)
        except BaseException as error:
            failure = failure_of(error)
            if failure.kind == "unexpected":
                traceback.print_exc(file=sys.stderr)
            lines.send("error", kind=failure.kind, sentence=failure.sentence)
            return failure.exit_code
        lines.send("result", path=str(folder / RESULT_FILE), seconds=lines.seconds())
        return EXIT_DONE


class _Lines:
    """What the parent reads."""

    def __init__(self, output: TextIO, begin: float) -> None:
        self._output = output
        self._begin = begin
        self._last_step = ("", -1.0)

    def seconds(self) -> float:
        return round(time.monotonic() - self._begin, 2)

    def step(self, step: str, fraction: float) -> None:
        name, when = self._last_step
        now = time.monotonic()
        if step == name and fraction < 1 and now - when < LEAST_SECONDS_BETWEEN_STEPS:
            return
        self._last_step = (step, now)
        self.send("step", step=step, fraction=round(fraction, 4), seconds=self.seconds())

    def note(self, sentence: str) -> None:
        self.send("note", sentence=sentence)

    def send(self, event: str, **content: object) -> None:
        self._output.write(json.dumps({"event": event, **content}, ensure_ascii=False) + "\n")
        self._output.flush()


@contextmanager
def _own_output() -> Iterator[TextIO]:
    """Standard output for the protocol alone: whatever a library prints goes to standard error."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(kept), "w", encoding="utf-8", newline="\n") as output:
            yield output
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def _listen(cancelled: threading.Event) -> None:
    # Not sys.stdin: its buffer's lock, held by a waiting thread, would stop the interpreter from ending.
    heard = b""
    while True:
        try:
            piece = os.read(0, 1024)
        except OSError:
            piece = b""
        heard += piece
        if not piece or b"cancel\n" in heard.replace(b"\r", b""):
            cancelled.set()
            return
        heard = heard[-16:]


if __name__ == "__main__":
    sys.exit(main())
