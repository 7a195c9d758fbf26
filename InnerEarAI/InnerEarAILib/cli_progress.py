"""What a shell shows of a run: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from InnerEarAILib.progress import Progress
from InnerEarAILib.saying import say

SECONDS_BETWEEN_LINES = 10.0
"""How often a long step is heard of in a log; ours."""


@contextmanager
def shown_progress(name: str, terminal: TextIO, log: TextIO) -> Iterator[Progress]:
    """Progress that is shown for as long as the context lasts.

    Args:
        name: of the scan.
        terminal: gets a bar if it is a terminal and tqdm is installed.
        log: gets lines otherwise.
    """
    # Slicer's own streams are no files and know less.
    bar = _bar(name, terminal) if getattr(terminal, "isatty", bool)() else None
    if bar is None:
        lines = _Lines(name, log)
        yield Progress(lines.step, lines.note)
        return

    def step(description: str, fraction: float) -> None:
        bar.set_description_str(f"{name}: {description}", refresh=False)
        bar.n = round(100 * fraction)
        with suppress(OSError):  # the terminal is gone
            bar.refresh()

    def note(sentence: str) -> None:
        with suppress(OSError):
            bar.write(f"{name}: {sentence}", file=terminal)

    try:
        yield Progress(step, note)
    finally:
        with suppress(OSError):
            bar.close()


def _bar(name: str, stream: TextIO):
    try:
        from tqdm import tqdm
    except ImportError:  # Slicer's Python need not have it
        return None
    layout = "{desc} |{bar}| {percentage:3.0f}% {elapsed}"
    return tqdm(desc=name, total=100, file=stream, leave=False, bar_format=layout, dynamic_ncols=True)


class _Lines:
    """A line for every new step, and now and then one for a long step."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name = name
        self._stream = stream
        self._step = ""
        self._when = 0.0

    def step(self, step: str, fraction: float) -> None:
        now = time.monotonic()
        if step != self._step:
            self._say(step)
        elif now - self._when >= SECONDS_BETWEEN_LINES:
            self._say(f"{step}, {fraction:.0%}")
        else:
            return
        self._step, self._when = step, now

    def note(self, sentence: str) -> None:
        self._say(sentence)

    def _say(self, text: str) -> None:
        say(f"{self._name}: {text}", self._stream)
