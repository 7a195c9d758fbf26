"""Segments many scans in Slicer without its window, by the options of the command line.

Slicer --no-main-window --python-script InnerEarAI/Scripts/segment.py -- SCAN… -o OUT [--preset …] [--model …]
"""

import sys
from pathlib import Path

import slicer.util

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from InnerEarAILib import cli
from InnerEarAILib.failures import EXIT_BAD_INPUT
from InnerEarAILib.panel.installation import obstacle


def main():
    """Runs the batch and ends Slicer with the command line's exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if sentence := obstacle():
        print(sentence, file=sys.stderr)
        slicer.util.exit(EXIT_BAD_INPUT)
        return
    slicer.util.exit(cli.main(["segment", *arguments]))


if __name__ == "__main__":
    main()
