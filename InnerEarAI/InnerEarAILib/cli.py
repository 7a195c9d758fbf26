"""The command line: segment scans, list the models, and the commands of the side wings.

Exit codes: 0 done, 1 unexpected error, 2 bad input or arguments, 3 no inner ear found, 130 cancelled. With several
scans, one that fails does not stop the others, and the code is that of the worst. Results go to files, a summary to
standard output with a line for each step; a terminal shows a bar in place of those lines. Standard error has one
sentence for each scan that fails. An unexpected error shows its traceback with --verbose, and in the side wings always.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from InnerEarAILib import __version__
from InnerEarAILib.argument_types import given_path
from InnerEarAILib.cli_progress import shown_progress
from InnerEarAILib.ear_result import EarResult
from InnerEarAILib.failures import (
    EXIT_BAD_INPUT,
    EXIT_CANCELLED,
    EXIT_DONE,
    EXIT_NO_EAR,
    EXIT_UNEXPECTED,
    failure_of,
)
from InnerEarAILib.model_store import list_models
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.result_files import check_output, has_results, write_results
from InnerEarAILib.saying import say, silence
from InnerEarAILib.scan_files import read_volume
from InnerEarAILib.scan_names import named, stem_of
from InnerEarAILib.time_estimate import learn, time_sentence
from InnerEarAILib.volume import Volume

PROGRAM = "inner-ear-ai"

SEVERITY = (EXIT_DONE, EXIT_NO_EAR, EXIT_BAD_INPUT, EXIT_UNEXPECTED, EXIT_CANCELLED)
"""Exit codes from the best to the worst."""

WING_COMMANDS = (
    ("InnerEarAILib.phantom.command", "add_phantom_command"),
    ("InnerEarAILib.training.command", "add_train_command"),
    ("InnerEarAILib.evaluation.command", "add_evaluate_command"),
    ("InnerEarAILib.benchmark.command", "add_benchmark_command"),
    ("InnerEarAILib.evaluation.ablate_command", "add_ablate_command"),
)
"""Modules of the side wings and the function by which each adds its commands. The function gets the object that
`ArgumentParser.add_subparsers` gave, and sets on each parser the default `handler`: from parsed arguments to exit code.
A wing that an installation leaves out is passed over."""

EXTRAS = {
    "h5py": "training",
    "matplotlib": "training",
    "monai": "training",
    "vtk": "surfaces",
    "vtkmodules": "surfaces",
}
"""What the side wings import beyond the library's own packages, and the extra of pyproject.toml that brings it."""


class _Parser(argparse.ArgumentParser):
    """Tells of a bad argument in one sentence, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None, segmenter: Any = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; None takes the process's own.
        segmenter: offers `segment` and `SegmenterOptions` as the module segmenter does, which None stands for; it is
            imported when the first scan has been read, since it brings torch along.

    Returns:
        The exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        # A log in plain ASCII must not end a run at the first “×”.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    chosen = argparse.Namespace(command=PROGRAM)
    try:
        _parser().parse_args(arguments, chosen)
        if chosen.command == "segment":
            return _segment_all(chosen, segmenter)
        return chosen.handler(chosen)
    except SystemExit as ended:  # argparse: help was shown, or an argument is wrong and was said to be
        return int(ended.code or 0)
    except BaseException as error:
        # After hours of training nobody can run it again to see where it failed.
        return _report(error, chosen.command, getattr(chosen, "verbose", True))
    finally:
        _flush()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Inner-ear segmentation and landmarks in CT. For research use.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_segment_command(commands)
    models = commands.add_parser("models", help="list the models that are installed")
    models.set_defaults(handler=_print_models)
    for module, function in WING_COMMANDS:
        if importlib.util.find_spec(module.rpartition(".")[0]) and importlib.util.find_spec(module):
            getattr(importlib.import_module(module), function)(commands)
    return parser


def _add_segment_command(commands: Any) -> None:
    parser = commands.add_parser(
        "segment",
        help="find the labyrinth and three landmarks of each ear",
        description="Finds the labyrinth, helicotrema, oval window and round window of each ear in CT scans.",
        epilog="Exit codes: 0 done, 1 unexpected error or not enough memory, 2 bad input or arguments, "
        "3 no inner ear found, 130 cancelled.",
    )
    parser.add_argument(
        "scans", nargs="+", type=given_path, metavar="SCAN", help="NRRD, NIfTI or MHA file, or DICOM folder"
    )
    parser.add_argument("-o", "--output", required=True, type=given_path, metavar="OUT", help="folder for the results")
    parser.add_argument(
        "--preset",
        choices=("paper", "standard", "fast"),
        default="standard",
        help="paper: whole scan, ten views, raw output; standard (default): round each ear, ten views; fast: one view",
    )
    parser.add_argument(
        "--model",
        default="auto",
        metavar="NAME",
        help="a name that “models” lists, or a model's folder; default: by scan and device",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--ear", choices=("auto", "left", "right", "both"), default="auto", help="which ears are wanted"
    )
    parser.add_argument("--views", type=int, choices=(1, 10), help="number of rotated views; default: by the preset")
    parser.add_argument("--whole-volume", action="store_true", help="look everywhere, without finding the ears first")
    parser.add_argument("--no-postprocessing", action="store_true", help="keep the network's raw segmentation")
    parser.add_argument(
        "--output-grid",
        choices=("fine", "scan"),
        default="fine",
        help="voxels of the segmentation: fine ones, for a smooth surface, or the scan's own",
    )
    parser.add_argument(
        "--contrast-matching",
        action="store_true",
        help="for experiments: give the region the histogram that the model was trained on; on the specimens where it "
        "was tried it made the result a little worse",
    )
    parser.add_argument("--series", type=int, metavar="N", help="DICOM series number, where a folder holds several")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results of the same name")
    parser.add_argument("--verbose", action="store_true", help="show where an unexpected error came from")


def _segment_all(chosen: argparse.Namespace, segmenter: Any) -> int:
    worst = EXIT_DONE
    for scan, name in named(chosen.scans):
        if name != stem_of(scan):
            say(f"{name}: Results of {scan}", sys.stdout)
        try:
            code = _segment_one(scan, name, chosen, segmenter)
        except BaseException as error:
            code = _report(error, name, chosen.verbose)
        worst = max(worst, code, key=SEVERITY.index)
        if code == EXIT_CANCELLED:
            break
    return worst


def _segment_one(scan: Path, name: str, chosen: argparse.Namespace, segmenter: Any) -> int:
    begin = time.monotonic()
    check_output(chosen.output, name, chosen.overwrite)
    with shown_progress(name, sys.stderr, sys.stdout) as progress:
        progress.step("Reading the scan")
        read_notes: list[str] = []
        volume = replace(read_volume(scan, chosen.series, Progress(on_note=read_notes.append)), name=name)
        seconds_reading = time.monotonic() - begin
        for note in read_notes:
            progress.note(note)
        options = _options(chosen)
        if segmenter is None:
            from InnerEarAILib import segmenter

            _tell_time(volume, segmenter.SegmenterOptions(**options), progress)
        result = segmenter.segment(volume, segmenter.SegmenterOptions(**options), progress)
        if result.ears:
            progress.step("Writing the results")
            timed = {"seconds.reading": round(seconds_reading, 3), **result.provenance}
            result = replace(result, provenance=timed, notes=(*read_notes, *result.notes))
            files = write_results(result, chosen.output, name, chosen.overwrite)
    with suppress(Exception):  # the results are there; a speed that cannot be kept is no failure of theirs
        learn(result.provenance)
    if not result.ears:
        earlier = " Earlier results of that name stay there." if has_results(chosen.output, name) else ""
        _say(f"{name}: No inner ear was found; nothing was written.{earlier}")
        return EXIT_NO_EAR
    for ear in result.ears:
        say(f"{name}: {_described(ear)}", sys.stdout)
    say(f"{name}: {len(files)} files in {chosen.output}, {time.monotonic() - begin:.1f} s", sys.stdout)
    return EXIT_DONE


def _tell_time(volume: Volume, options: Any, progress: Progress) -> None:
    try:
        progress.note(time_sentence(volume.grid, options, progress))
    except Cancelled:
        raise
    except Exception:
        return  # whatever hinders the run itself, the run says so; an estimate never ends it


def _options(chosen: argparse.Namespace) -> dict[str, Any]:
    """What the user asked for, as fields of SegmenterOptions; what was not asked for is left to the preset."""
    options = {"preset": chosen.preset, "model": chosen.model, "device": chosen.device, "ear": chosen.ear}
    if chosen.views is not None:
        options["views"] = chosen.views
    if chosen.whole_volume:
        options["locate"] = False
    if chosen.contrast_matching:
        options["contrast_matching"] = True
    if chosen.output_grid != "fine":
        options["output_grid"] = chosen.output_grid
    if chosen.no_postprocessing:
        options["postprocess"] = False
    return options


def _described(ear: EarResult) -> str:
    found = sum(landmark.position_lps is not None for landmark in ear.landmarks)
    deviation = ear.quality.mean_standard_deviation
    contradiction = "" if deviation is None else f", mean standard deviation over the views {deviation:.4f}"
    sentences = "".join(f"\n    {flag}" for flag in ear.quality.flags)
    return (
        f"{ear.side} ear, {ear.quality.volume_mm3:.1f} mm³, {found} of {len(ear.landmarks)} landmarks"
        f"{contradiction}{sentences}"
    )


def _print_models(chosen: argparse.Namespace) -> int:
    del chosen
    cards = list_models()
    for card in cards:
        say(f"{card.name} {card.version} ({card.role}, {card.spacing_mm:g} mm, {card.licence})", sys.stdout)
        for what, sentence in (("trained on", card.trained_on), ("validated on", card.validated_on)):
            say(f"    {what}: {sentence}", sys.stdout)
        say(f"    limits: {card.limits}", sys.stdout)
    if not cards:
        _say("No model is installed.")
    return EXIT_DONE


def _report(error: BaseException, name: str, verbose: bool) -> int:
    if isinstance(error, ModuleNotFoundError) and (module := (error.name or "").partition(".")[0]) in EXTRAS:
        _say(f'{name}: The Python module {module} is missing; install it with: pip install ".[{EXTRAS[module]}]".')
        return EXIT_BAD_INPUT
    failure = failure_of(error)
    if failure.kind == "unexpected" and verbose:
        traceback.print_exception(error, file=sys.stderr)
    hint = " Run again with --verbose to see where." if failure.kind == "unexpected" and not verbose else ""
    _say(f"{name}: {failure.sentence}{hint}")
    return failure.exit_code


def _say(sentence: str) -> None:
    say(sentence, sys.stderr)


def _flush() -> None:
    for stream in filter(None, (sys.stdout, sys.stderr)):  # without a console there are none
        try:
            stream.flush()
        except OSError:
            silence(stream)
