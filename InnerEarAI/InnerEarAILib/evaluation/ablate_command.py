"""The command “ablate”: the paper's ablation studies on a data set.

This file is imported whenever the program starts, so that it brings in torch only when something is run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from InnerEarAILib.argument_types import given_path
from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE
from InnerEarAILib.saying import say


def add_ablate_command(commands: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "ablate",
        help="train and judge variations of the base network",
        description="Trains the base configuration and its 43 one-parameter variations on a data set, judges each, and "
        "leaves ablation.csv, ablation.md and ablation.html. The same command goes on where an earlier one ended.",
        epilog="A scan that cannot be judged is named, does not stop the others and counts as bad input. Exit codes: "
        "0 done, 1 unexpected error or not enough memory, 2 bad input or arguments, 130 cancelled.",
    )
    parser.add_argument("--data", type=given_path, metavar="MANIFEST", help="labelled scans: a manifest, or a folder "
                        "of HDF5 files; without it a set of phantoms is drawn into DIR/phantoms")  # fmt: skip
    parser.add_argument("--test", nargs="+", type=given_path, default=[], metavar="MANIFEST", help="further data sets")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="these variations alone (and single tasks); see --list"
    )
    parser.add_argument("--list", action="store_true", help="name the variations and end")
    parser.add_argument("--budget", type=int, metavar="ITERATIONS", help="of each run (default: the configuration's)")
    parser.add_argument(
        "--folds", type=int, default=1, metavar="N", help="folds trained; three in the paper; default 1"
    )
    parser.add_argument(
        "--config",
        default="base",
        metavar="CONFIG",
        help="what is varied (default: base); variations that it is already or cannot be are named and not run",
    )
    parser.add_argument("--views", type=int, choices=(1, 10), default=1, help="rotated views when judging; default 1")
    parser.add_argument(
        "--contrast",
        choices=("own", "matched", "clusters"),
        default="own",
        help="contrast in which scans are judged, as with evaluate (default: own)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("-o", "--output", type=given_path, default=Path("runs/ablation"), metavar="DIR", help="folder "
                        "(default: runs/ablation)")  # fmt: skip
    parser.set_defaults(handler=run_ablate_command)


def run_ablate_command(chosen: argparse.Namespace) -> int:
    """Runs the ablations that the parsed arguments ask for; returns the exit code."""
    from InnerEarAILib.inference.device import DeviceError
    from InnerEarAILib.training.configuration import ConfigurationError
    from InnerEarAILib.volume import InputError

    if chosen.list:
        return _listed()
    try:
        failed = _ablated(chosen)
    except (ConfigurationError, DeviceError, InputError) as error:
        say(str(error), sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        say("Cancelled; the same command goes on.", sys.stderr)
        return EXIT_CANCELLED
    say(f"ablation.csv, ablation.md, ablation.html in {chosen.output}")
    for sentence in failed:
        say(sentence, sys.stderr)
    return EXIT_BAD_INPUT if failed else EXIT_DONE


def _listed() -> int:
    from InnerEarAILib.evaluation.catalogue import BASE, SINGLE_TASKS, VARIATIONS, variation

    for one in (variation(BASE), *VARIATIONS, *SINGLE_TASKS):
        say(f"{one.name}: {one.aspect}{' (value ours)' if one.ours else ''}")
    return EXIT_DONE


def _ablated(chosen: argparse.Namespace) -> list[str]:
    """Trains, judges and writes; returns a sentence for each scan that could not be judged."""
    from InnerEarAILib.evaluation.ablation import AblationPlan, ablate, told_from_base
    from InnerEarAILib.evaluation.ablation_report import failures, write_ablation_report
    from InnerEarAILib.evaluation.catalogue import BASE, variation, variations_of
    from InnerEarAILib.evaluation.manifest_cases import data_set_recipes
    from InnerEarAILib.inference.device import choose_device
    from InnerEarAILib.training.configuration import as_configuration_errors, configuration_of, read_table
    from InnerEarAILib.volume import InputError

    if chosen.folds < 1 or (chosen.budget is not None and chosen.budget < 1):
        raise InputError("--folds and --budget must be at least 1.")
    table = read_table(chosen.config)
    with as_configuration_errors():
        widths = configuration_of(table).network.widths
    names = chosen.only or [BASE, *(one.name for one in variations_of(widths))]
    variations = [variation(name, widths) for name in names]
    device = str(choose_device(chosen.device))
    data_set_recipes(*chosen.test)  # what is wrong with them is said before anything is drawn
    data = chosen.data or _drawn_set(chosen.output, table)
    judged = (chosen.views, chosen.contrast)
    plan = AblationPlan(table, data, tuple(chosen.test), chosen.folds, chosen.budget, device, *judged)
    conditions = _conditions(chosen, data, device)
    variations, why_not = told_from_base(plan, variations)
    if why_not:
        told = "Not run: " + ", ".join(f"{name} ({reason})" for name, reason in why_not.items()) + "."
        if not variations:
            raise InputError(f"{told} Name other variations with --only.")
        say(told)
        conditions = f"{conditions} {told}"
    runs = ablate(
        plan, variations, chosen.output, say, lambda runs: write_ablation_report(chosen.output, runs, conditions)
    )
    return failures(runs)


def _conditions(chosen: argparse.Namespace, data: Path, device: str) -> str:
    """What the report says of how its figures came about."""
    length = f"{chosen.budget:,} iterations a run" if chosen.budget else "as many iterations as the configuration says"
    return (
        f"{chosen.config} and its variations on {data.name}, {chosen.folds} fold(s), {length}, {device}; judged by "
        f"{chosen.views} view(s), contrast: {chosen.contrast}."
    )


def _drawn_set(output: Path, table: dict[str, Any]) -> Path:
    from InnerEarAILib.evaluation.phantom_set import PhantomSet, draw_phantom_set
    from InnerEarAILib.training.run_folder import make_folder

    make_folder(output)
    return draw_phantom_set(output / "phantoms", PhantomSet(model_spacing_mm=float(table["spacing_mm"])), say)
