"""The command “phantom”: draws phantom scans with their truth into a folder.

This file is imported whenever the program starts, so that it brings in torch only when a phantom is drawn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

SCANNERS = ("flat_panel", "cone_beam", "multi_slice", "thick_slice", "micro")
STATES = ("fresh", "dry", "embalmed", "embedded")
SIDES = ("left", "right", "random")
VARIANTS = (
    "normal",
    "incomplete_partition",
    "enlarged_vestibular_aqueduct",
    "dehiscent_superior_canal",
    "otosclerosis",
    "fibrosis",
    "ossification",
)

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
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the phantoms")
    parser.add_argument("--seed", type=_whole, default=0, metavar="N", help="seed of the first phantom; default 0")
    parser.add_argument("--count", type=_whole, default=1, metavar="N", help="how many, with rising seeds; default 1")
    parser.add_argument("--scanner", choices=SCANNERS, default="multi_slice", help="default: multi_slice")
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
        type=Path,
        metavar="FILE",
        help="take this labyrinth: surface (.ply, .stl, .vtk; its parts stay unknown) or label map, LPS mm",
    )
    parser.add_argument("--landmarks", type=Path, metavar="FILE", help="its landmarks: .mrk.json, or JSON by name")
    parser.add_argument(
        "--tissues", type=Path, metavar="FILE", help="JSON that says what each label of a temporal bone's label map is"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N; default: cpu")
    parser.set_defaults(handler=draw_and_write)


def draw_and_write(chosen: argparse.Namespace) -> int:
    """Draws and writes the phantoms.

    Returns:
        The exit code: 0, or 2 where an argument or a file cannot be used, of which one sentence goes to stderr.
    """
    from InnerEarAILib.phantom.phantom import PhantomOptions, draw_phantom, write_phantom
    from InnerEarAILib.volume import InputError

    named = ("scanner", "state", "side", "variant", "head", "electrode", "labyrinth", "landmarks", "tissues")
    options = PhantomOptions(**{name: getattr(chosen, name) for name in named})
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        try:
            files = write_phantom(chosen.output, draw_phantom(seed, options, chosen.device))
        except InputError as error:
            print(error, file=sys.stderr)
            return 2
        print(files[0].with_suffix("").name, flush=True)
    try:
        write_manifest(chosen.output)
    except OSError as error:
        print(f"The list of phantoms cannot be written to {chosen.output} ({error.strerror}).", file=sys.stderr)
        return 2
    return 0


def write_manifest(folder: Path) -> None:
    """Lists the folder's phantoms of one ear as a labelled data set, for `train --data` and `evaluate --data`.

    Args:
        folder: with what `write_phantom` wrote; heads are left out.

    Raises:
        OSError: if it cannot be written.
    """
    lines = ['name = "Drawn temporal bones"']
    for labels in sorted(folder.glob("*_labels.nrrd")):
        name = labels.name.removesuffix("_labels.nrrd")
        landmarks = list(folder.glob(f"{name}_*.mrk.json"))
        if len(landmarks) == 1:
            files = {"name": name, "scan": f"{name}.nrrd", "labels": labels.name, "landmarks": landmarks[0].name}
            lines += ["", "[[case]]", *(f'{key} = "{value}"' for key, value in files.items())]
    if len(lines) > 1:
        (folder / MANIFEST_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number
