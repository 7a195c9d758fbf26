"""How long work tells its caller where it stands, and learns that it is to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


class Cancelled(Exception):
    """The caller asked for the work to stop; nothing of it is left behind."""


def _silent(step: str, fraction: float) -> None:
    del step, fraction


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Progress:
    """What a long function calls between its pieces.

    Attributes:
        on_step: receives the step in words ("Reading the scan") and its share done, 0 to 1.
        on_note: receives one sentence about something that a user should know (a fallback, say).
        is_cancelled: asked between pieces of work, at least once a tile.
    """

    on_step: Callable[[str, float], None] = _silent
    on_note: Callable[[str], None] = field(default=lambda sentence: None)
    is_cancelled: Callable[[], bool] = _never

    def step(self, step: str, fraction: float = 0.0) -> None:
        """Reports a step and how much of it is done.

        Raises:
            Cancelled: if the caller wants the work to stop.
        """
        if self.is_cancelled():
            raise Cancelled(f"Cancelled during: {step}")
        self.on_step(step, min(max(fraction, 0.0), 1.0))

    def note(self, sentence: str) -> None:
        """Passes a sentence on to the user."""
        self.on_note(sentence)
