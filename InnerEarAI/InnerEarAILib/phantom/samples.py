"""Draws a sample scan into a file: python -m InnerEarAILib.phantom.samples ear|head FILE"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_DONE, failure_of
from InnerEarAILib.json_lines import JsonLines, heard_cancel, own_output
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_files import write_volume

KINDS = ("ear", "head")


def main(arguments: Sequence[str] | None = None) -> int:
    """Draws a phantom and says by json_lines where it stands.

    Args:
        arguments: one of KINDS, and the file to write; None takes the process's own.

    Returns:
        The exit code.
    """
    begin = time.monotonic()
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 2 or arguments[0] not in KINDS:
        print(f"usage: python -m InnerEarAILib.phantom.samples {'|'.join(KINDS)} FILE", file=sys.stderr)
        return EXIT_BAD_INPUT
    kind, file = arguments
    with own_output() as output:
        lines = JsonLines(output, begin)
        try:
            from InnerEarAILib.phantom.phantom import embedded_head_phantom, embedded_phantom

            draw = embedded_head_phantom if kind == "head" else embedded_phantom
            scan = draw(Progress(lines.step, lines.note, heard_cancel().is_set)).scan
            write_volume(Path(file), scan)
        except BaseException as error:
            failure = failure_of(error)
            if failure.kind == "unexpected":
                traceback.print_exc(file=sys.stderr)
            print(failure.sentence, file=sys.stderr)
            return failure.exit_code
        lines.send("drawn", path=file, seconds=lines.seconds())
        return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
