"""A log that cannot be written to any longer, as after `| head -1`."""

from __future__ import annotations

import io


class Unwritable(io.StringIO):
    """A log whose reader has gone, after a number of lines."""

    def __init__(self, lines):
        super().__init__()
        self.lines_left = lines

    def write(self, text):
        self.lines_left -= text.count("\n")
        if self.lines_left < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)
