"""Lines for whoever started the program; where nobody reads them any longer, the work goes on."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(line: str, stream: TextIO | None = None) -> None:
    """Writes a line, to stdout if to no other stream.

    A stream that cannot be written to, as after `| head -1`, is left alone: the work goes on.
    """
    try:
        print(line, file=stream, flush=True)
    except OSError:
        silence(sys.stdout if stream is None else stream)


def silence(stream: TextIO) -> None:
    """Sends what a stream still holds, and all that comes, to nowhere: the program's end then finds no fault in it."""
    with suppress(OSError, ValueError):  # a stream of somebody's own has no file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)
