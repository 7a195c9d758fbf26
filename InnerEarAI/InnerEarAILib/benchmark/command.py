"""The command “benchmark”: how long a scan takes, step by step, and beside other ways to do it.

This file is imported whenever the program starts, so that it brings in torch only when something is measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from InnerEarAILib.argument_types import given_path, positive_number
from InnerEarAILib.failures import EXIT_DONE
from InnerEarAILib.saying import say
from InnerEarAILib.volume import InputError

SCANS = ("crop-50mm", "cube-190", "cube-256", "bone-512", "head-512")
AGREEMENT_SCANS = 3


def add_benchmark_command(commands: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "benchmark",
        help="measure time and memory, and whether faster number formats give the same ear",
        description="Times the route from a file on disk to result files, step by step, and the same tiles through "
        "MONAI's inferer and a plain loop. Leaves benchmark.json, benchmark.md and benchmark.png. With --agreement it "
        "measures instead in which number formats a model gives the ear of float32.",
        epilog="Exit codes: 0 done, 1 unexpected error or not enough memory, 2 bad input or arguments, 130 cancelled.",
    )
    parser.add_argument("-o", "--output", type=given_path, metavar="DIR", help="folder of the benchmark")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--scan", nargs="+", choices=SCANS, default=list(SCANS), help="default: all")
    parser.add_argument(
        "--preset", nargs="+", choices=("fast", "standard", "paper"), help="default: fast, standard; on a GPU paper too"
    )
    parser.add_argument("--model", default="clinical", metavar="NAME", help="default: clinical")
    parser.add_argument(
        "--models", type=given_path, metavar="DIR", help="folder of the models (default: the shipped ones)"
    )
    parser.add_argument(
        "--runs", type=positive_number, default=5, metavar="N", help="runs of each, after a first; default 5"
    )
    parser.add_argument("--only", choices=("route", "comparison"), help="leave out the other half")
    parser.add_argument("--agreement", metavar="NAME", help="measure the number formats of this model instead")
    parser.add_argument("--scans", type=positive_number, default=AGREEMENT_SCANS, metavar="N", help="for it; default 3")
    parser.add_argument("--update", action="store_true", help="with --agreement: write the outcome into the card")
    parser.set_defaults(handler=run_benchmark_command)


def run_benchmark_command(chosen: argparse.Namespace) -> int:
    """Measures as the parsed arguments ask.

    Returns:
        The exit code 0; bad input raises.

    Raises:
        InputError, ModelError: an argument, a file or a model cannot be used.
    """
    if chosen.update and not chosen.agreement:
        raise InputError("--update goes with --agreement NAME.")
    if not chosen.agreement and chosen.output is None:
        raise InputError("Say with -o where the benchmark is to be written.")
    from InnerEarAILib.inference.device import DeviceError, choose_device
    from InnerEarAILib.model_store import default_directory, load_card

    models = chosen.models or default_directory()
    card = load_card(chosen.agreement or chosen.model, models)
    try:
        device = choose_device(chosen.device)
    except DeviceError as error:
        raise InputError(str(error)) from error
    if chosen.agreement:
        return _measure_agreement(chosen, card)
    if card.role != "segmenter":
        raise InputError(f"The model {card.name} is a {card.role}; choose one that draws the labyrinth.")
    return _measure_speed(chosen, card, models, device)


def _measure_agreement(chosen: argparse.Namespace, card: Any) -> int:
    from InnerEarAILib.benchmark.agreement import measured_agreements, updated_card
    from InnerEarAILib.benchmark.scans import drawn_ears

    agreements = measured_agreements(card, drawn_ears(chosen.scans), chosen.device, _told())
    for agreement in agreements:
        say(f"{card.name}: {agreement}")
    if chosen.update:
        written = updated_card(card, agreements)
        say(f"The card of {written.name} says: {', '.join(written.agreeing_precisions)}.")
    return EXIT_DONE


def _measure_speed(chosen: argparse.Namespace, card: Any, models: Path, device: Any) -> int:
    from InnerEarAILib.benchmark.report import write_benchmark
    from InnerEarAILib.benchmark.scans import timed_scan
    from InnerEarAILib.benchmark.timing import compared, timed_route
    from InnerEarAILib.result_files import check_folder
    from InnerEarAILib.scan_files import write_volume
    from InnerEarAILib.segmenter_options import PRESETS, SegmenterOptions

    check_folder(chosen.output)
    # Before anything is measured: the picture is drawn after, and MONAI is asked after the route.
    for package in ("matplotlib", *(() if chosen.only == "route" else ("monai",))):
        if importlib.util.find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    presets = chosen.preset or ["fast", "standard"] + ["paper"] * (device.type == "cuda")
    progress = _told()
    routes, comparisons, files = [], [], []
    for name in chosen.scan:
        scan = timed_scan(name, progress)
        with tempfile.TemporaryDirectory(prefix="inner-ear-ai-") as folder:
            file = Path(folder, f"{name}.nrrd")
            if chosen.only != "comparison":
                write_volume(file, scan)
            for preset in presets:
                if chosen.only != "comparison":
                    progress.step(f"{name}, {preset}: from the file to the result files")
                    options = SegmenterOptions(preset, model=card.name, device=str(device))
                    routes.append(timed_route(file, options, chosen.runs + 1, device, models))
                if chosen.only != "route" and (name == chosen.scan[0] or not PRESETS[preset].locate):
                    # Round an ear the tiles are the same whatever the scan.
                    views, whole = PRESETS[preset].views, not PRESETS[preset].locate
                    comparisons.append(compared(scan, card, views, whole, chosen.runs, device, progress))
                files = write_benchmark(chosen.output, _conditions(card, device), routes, comparisons)
    say((chosen.output / "benchmark.md").read_text(encoding="utf-8"))
    say(f"{', '.join(file.name for file in files)} in {chosen.output}")
    return EXIT_DONE


def _conditions(card: Any, device: Any) -> dict[str, Any]:
    import torch

    from InnerEarAILib import __version__
    from InnerEarAILib.inference.device import describe_device

    return {
        "device": describe_device(device),
        "processor": platform.processor() or platform.machine(),
        "system": platform.system(),
        "torch": torch.__version__,
        "library": __version__,
        "model": f"{card.name} {card.version}",
    }


def _told() -> Any:
    from InnerEarAILib.progress import Progress

    said: list[str] = []

    def step(sentence: str, fraction: float) -> None:
        del fraction
        if said[-1:] != [sentence]:
            said.append(sentence)
            say(sentence)

    return replace(Progress(), on_step=step, on_note=say)
