"""What an exception means to whoever waits for a result: its kind, one sentence, a process's exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from InnerEarAILib.inference.device import DeviceError
from InnerEarAILib.inference.memory import is_out_of_memory
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.progress import Cancelled
from InnerEarAILib.volume import InputError

EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_BAD_INPUT = 2
EXIT_NO_EAR = 3
EXIT_CANCELLED = 130
"""128 + SIGINT, as shells have it."""


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes:
        kind: "unexpected" is a mistake of ours, of which the traceback is worth keeping; the others are not.
        sentence: for the user; one line.
        exit_code: of a process that ends because of it.
    """

    kind: Literal["input", "model", "memory", "cancelled", "unexpected"]
    sentence: str
    exit_code: int


def failure_of(error: BaseException) -> Failure:
    """The failure behind an exception, of whatever type."""
    sentence = " ".join(str(error).split())
    if isinstance(error, (InputError, DeviceError)):
        return Failure("input", sentence, EXIT_BAD_INPUT)
    if isinstance(error, ModelError):
        return Failure("model", sentence, EXIT_BAD_INPUT)
    if isinstance(error, (Cancelled, KeyboardInterrupt)):
        return Failure("cancelled", "Cancelled; nothing was written.", EXIT_CANCELLED)
    if is_out_of_memory(error):
        return Failure(
            "memory",
            "There is not enough memory; close other programs, or crop the scan to the temporal bone.",
            EXIT_UNEXPECTED,
        )
    return Failure("unexpected", f"Unexpected error ({type(error).__name__}: {sentence}).", EXIT_UNEXPECTED)
