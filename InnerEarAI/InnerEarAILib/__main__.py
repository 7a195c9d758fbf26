"""`python -m InnerEarAILib`, and the command `inner-ear-ai`: the command line."""

import os
import signal
import sys

CANCELLED = 130
"""EXIT_CANCELLED of failures, which is not imported yet."""


def run() -> int:
    """Runs the command line; Ctrl-C ends it with one word also while the library is still being imported.

    Returns:
        The exit code.
    """
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # whoever ignores Ctrl-C, as nohup does, goes on ignoring it
        signal.signal(signal.SIGINT, _leave)
    from InnerEarAILib.cli import main

    signal.signal(signal.SIGINT, usual)
    try:
        return main()
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return CANCELLED


def _leave(*_) -> None:
    """Ends the process at once: an exception would become an ImportError of whatever is being imported."""
    os.write(2, b"Cancelled.\n")
    os._exit(CANCELLED)


if __name__ == "__main__":
    sys.exit(run())
