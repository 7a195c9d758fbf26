"""What a child process tells its parent: one JSON object a line on standard output, UTF-8; and the one word it hears.

    {"event": "step", "step": "Predicting", "fraction": 0.25, "seconds": 3.1}   seconds since the start
    {"event": "note", "sentence": "The GPU's memory was too small; …"}
    {"event": "error", "kind": "input", "sentence": "The scan is …"}            kinds: see failures.Failure

and whatever else the child's own module says. Standard error is free text: a log. On standard input the parent begins
with the word `begin`; the word `cancel` asks the child to stop, and so does the input's end after `begin`, so that no
child outlives its parent. An input that ends before it has begun never came through: a launcher kept it to itself.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

BEGIN, CANCEL = b"begin\n", b"cancel\n"
"""The words that a child hears."""

LEAST_SECONDS_BETWEEN_STEPS = 0.1
"""Steps that follow each other faster are left out, unless the step is another one or done; ours."""


class JsonLines:
    """The lines of a child process.

    Args:
        output: where they go.
        begin: `time.monotonic()` at the child's start.
    """

    def __init__(self, output: TextIO, begin: float) -> None:
        self._output = output
        self._begin = begin
        self._last_step = ("", -1.0)

    def seconds(self) -> float:
        """Seconds since the child's start."""
        return round(time.monotonic() - self._begin, 2)

    def step(self, step: str, fraction: float) -> None:
        """Tells of a step and its share done, 0 to 1; for Progress.on_step."""
        name, when = self._last_step
        now = time.monotonic()
        if step == name and fraction < 1 and now - when < LEAST_SECONDS_BETWEEN_STEPS:
            return
        self._last_step = (step, now)
        self.send("step", step=step, fraction=round(fraction, 4), seconds=self.seconds())

    def note(self, sentence: str) -> None:
        """Tells of something that a user should know; for Progress.on_note."""
        self.send("note", sentence=sentence)

    def send(self, event: str, **content: object) -> None:
        """Writes a line; what it holds must be JSON-able."""
        self._output.write(json.dumps({"event": event, **content}, ensure_ascii=False) + "\n")
        self._output.flush()


@contextmanager
def own_output() -> Iterator[TextIO]:
    """Standard output for the lines alone: whatever a library prints goes to standard error."""
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


def heard_cancel() -> threading.Event:
    """An event that is set once the parent wants the child to stop; a thread listens for it."""
    cancelled = threading.Event()
    threading.Thread(target=_listen, args=(cancelled,), daemon=True).start()
    return cancelled


def _listen(cancelled: threading.Event) -> None:
    # Not sys.stdin: its buffer's lock, held by a waiting thread, would stop the interpreter from ending.
    heard, begun = b"", False
    while True:
        try:
            piece = os.read(0, 1024)
        except OSError:
            piece = b""
        heard = (heard + piece).replace(b"\r", b"")
        begun = begun or BEGIN in heard
        if CANCEL in heard or (begun and not piece):
            cancelled.set()
        if cancelled.is_set() or not piece:
            return
        heard = heard[-16:]
