"""The command “phantom”: draws phantom scans with their truth into a folder.

This file is imported whenever the program starts, so that it brings in torch only when a phantom is drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from InnerEarAILib.argument_types import given_path, positive_number, whole_number
from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_DONE
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.scanner import SCANNER_KINDS
from InnerEarAILib.phantom.tissue import STATES
from InnerEarAILib.saying import say
from InnerEarAILib.whole_files import replacing

SIDES = ("left", "right", "random")
VARIANTS = (
    "normal",
    "incomplete_partition",
    "enlarged_vestibular_aqueduct",
    "dehiscent_superior_canal",
    "labyrinthine_aplasia",
    "cochlear_aplasia",
    "common_cavity",
    "cochlear_hypoplasia",
    "incomplete_partition_1",
    "lateral_canal_dysplasia",
    "otosclerosis",
    "fibrosis",
    "ossification",
)
"""PhantomOptions.side and variant; the files that list them bring in torch."""

MANIFEST_FILE = "phantoms.toml"
"""The drawn data set, in the folder of the phantoms."""


def add_phantom_command(commands: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave; its `handler` gives the exit code."""
    parser = commands.add_parser(
        "phantom",
        help="draw CT phantoms of the temporal bone with their exact truth",
        description="Draws CT phantoms of the temporal bone: scan, labels and parts (.nrrd), both once more as a "
        "segmentation (.seg.nrrd), landmarks (.mrk.json), parameters (.json); and a phantoms.toml of those of "
        "one ear, which train and evaluate take as --data.",
        epilog="Exit codes: 0 done, 1 unexpected error or not enough memory, 2 bad input or arguments, 130 cancelled.",
    )
    parser.add_argument("-o", "--output", required=True, type=given_path, metavar="DIR", help="folder for the phantoms")
    parser.add_argument(
        "--seed", type=whole_number, default=0, metavar="N", help="seed of the first phantom; default 0"
    )
    parser.add_argument(
        "--count", type=positive_number, default=1, metavar="N", help="how many, with rising seeds; default 1"
    )
    parser.add_argument("--scanner", choices=SCANNER_KINDS, default="multi_slice", help="default: multi_slice")
    parser.add_argument("--state", choices=STATES, default="fresh", help="how the specimen was kept; default: fresh")
    parser.add_argument("--side", choices=SIDES, default="random", help="of a single ear; default: random")
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="normal",
        metavar="NAME",
        help=f"malformation or disease: {', '.join(VARIANTS)}; default: normal",
    )
    parser.add_argument("--head", action="store_true", help="a head with both ears instead of one ear")
    parser.add_argument("--electrode", action="store_true", help="with a cochlear implant's electrode")
    parser.add_argument(
        "--labyrinth",
        type=given_path,
        metavar="FILE",
        help="take this labyrinth: surface (.ply, .stl, .vtk; its parts stay unknown) or label map, LPS mm",
    )
    parser.add_argument(
        "--landmarks", type=given_path, metavar="FILE", help="its landmarks: .mrk.json, .fcsv, or JSON by name"
    )
    parser.add_argument(
        "--tissues",
        type=given_path,
        metavar="FILE",
        help="JSON that says what each label of a temporal bone's label map is",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N; default: cpu")
    parser.set_defaults(handler=run_phantom_command)


def run_phantom_command(chosen: argparse.Namespace) -> int:
    """Draws and writes the phantoms.

    Returns:
        The exit code: 0, or 2 where an argument or a file cannot be used, of which one sentence goes to stderr.
    """
    from InnerEarAILib.inference.device import DeviceError, choose_device
    from InnerEarAILib.phantom.phantom import PhantomOptions, draw_phantom, write_phantom
    from InnerEarAILib.result_files import check_folder
    from InnerEarAILib.volume import InputError

    named = ("scanner", "state", "side", "variant", "head", "electrode", "labyrinth", "landmarks", "tissues")
    options = PhantomOptions(**{name: getattr(chosen, name) for name in named})
    try:
        check_folder(chosen.output)
        device = str(choose_device(chosen.device))
        for seed in range(chosen.seed, chosen.seed + chosen.count):
            files = write_phantom(chosen.output, draw_phantom(seed, options, device))
            say(files[0].with_suffix("").name)
    except (DeviceError, InputError) as error:
        say(str(error), sys.stderr)
        return EXIT_BAD_INPUT
    try:
        unmarked = write_manifest(chosen.output)
    except OSError as error:
        say(f"The list of phantoms cannot be written to {chosen.output} ({error.strerror}).", sys.stderr)
        return EXIT_BAD_INPUT
    if unmarked:
        say(f"Without landmarks, and so not in {MANIFEST_FILE}: {', '.join(unmarked)}.")
    return EXIT_DONE


def write_manifest(folder: Path) -> list[str]:
    """Lists the folder's phantoms of one ear as a labelled data set, for `train --data` and `evaluate --data`.

    Args:
        folder: with what `write_phantom` wrote; heads are left out.

    Returns:
        Names of the phantoms that are left out since none of their landmarks is known.

    Raises:
        OSError: if it cannot be written.
    """
    # Data sets that are judged together need names of their own.
    name = json.dumps(f"Drawn temporal bones, {folder.resolve().name}", ensure_ascii=False)
    left_out, lines = [], [f"name = {name}"]
    for labels in sorted(folder.glob("*_labels.nrrd")):
        name = labels.name.removesuffix("_labels.nrrd")
        landmarks = list(folder.glob(f"{name}_*.mrk.json"))
        if len(landmarks) != 1:
            continue
        unmarked = _unmarked(landmarks[0])
        if len(unmarked) == len(LANDMARK_NAMES):
            left_out.append(name)
            continue
        files = {"name": name, "scan": f"{name}.nrrd", "labels": labels.name, "landmarks": landmarks[0].name}
        lines += ["", "[[case]]", *(f'{key} = "{value}"' for key, value in files.items())]
        lines += [f"unmarked = {json.dumps(unmarked)}"] if unmarked else []
    if len(lines) > 1:
        with replacing(folder / MANIFEST_FILE) as unfinished:
            unfinished.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return left_out


def _unmarked(landmarks: Path) -> list[str]:
    """Names of the landmarks that a file of `write_phantom` leaves undefined."""
    from InnerEarAILib.phantom.given_landmarks import read_landmarks
    from InnerEarAILib.volume import InputError

    try:
        marked = read_landmarks(landmarks)
    except InputError:  # it defines none
        marked = {}
    return [name for name in LANDMARK_NAMES if name not in marked]
