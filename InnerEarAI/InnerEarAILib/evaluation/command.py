"""The command “evaluate”: how good are models, on drawn scans or on labelled real ones?

This file is imported whenever the program starts, so that it brings in torch only when something is evaluated.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from InnerEarAILib.argument_types import given_path, positive_minutes
from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE
from InnerEarAILib.phantom.scanner import SCANNER_KINDS
from InnerEarAILib.saying import say
from InnerEarAILib.volume import InputError

DEFAULT_SCANNER = "multi_slice"


def add_evaluate_command(commands: Any) -> None:
    """Adds the command to what `ArgumentParser.add_subparsers` gave."""
    parser = commands.add_parser(
        "evaluate",
        help="judge models on drawn scans or on labelled real ones",
        description="Judges models: --card NAME on drawn scans of its own (no outside data); --model NAME on labelled "
        "scans (--case, --data) or on given anatomies in drawn scanners (--anatomy). Leaves cases.csv, tables.md and "
        "index.html. A scan that fails does not stop the others; the exit code is then 2. The same command goes on "
        "where an earlier one ended.",
        epilog="Exit codes: 0 done, 1 unexpected error or not enough memory, 2 bad input or arguments, 130 cancelled.",
    )
    _add_models(parser)
    _add_cases(parser)
    _add_data_set_choices(parser)
    parser.add_argument(
        "--minutes", type=positive_minutes, metavar="M", help="time budget: no scan is begun that would exceed it"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--views",
        type=int,
        choices=(1, 10),
        help="number of rotated views of every model (default: 10, or 1 for models that were taught no quarter turns)",
    )
    parser.add_argument("--whole-volume", action="store_true", help="look everywhere, without finding the ears first")
    parser.add_argument("--drawn", type=given_path, metavar="DIR", help="folder of drawn scans (default: DIR/drawn)")
    parser.set_defaults(handler=run_evaluate_command)


def _add_models(parser: argparse.ArgumentParser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--card", metavar="NAME", help="compute the figures of this model's card")
    which.add_argument(
        "--model",
        nargs="+",
        metavar="NAME",
        help="models to be judged on given cases: names, or folders such as a run's best/NAME",
    )
    parser.add_argument(
        "-o", "--output", required=True, type=given_path, metavar="DIR", help="folder of the evaluation"
    )
    parser.add_argument(
        "--models",
        type=given_path,
        metavar="DIR",
        help="folder of the models and the locator (default: the shipped ones)",
    )
    parser.add_argument("--quick", action="store_true", help="with --card: six scans instead of about a hundred")
    parser.add_argument(
        "--update", action="store_true", help="with --card: write the figures into the card, and MODEL_CARD.md"
    )


def _add_cases(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--case",
        nargs="+",
        action="append",
        type=given_path,
        default=[],
        metavar="FILE",
        help="SCAN LABELS [LANDMARKS]: a labelled scan; may be given several times",
    )
    parser.add_argument(
        "--anatomy",
        nargs="+",
        action="append",
        type=given_path,
        default=[],
        metavar="FILE",
        help="LABYRINTH LANDMARKS [TISSUES]: surface or label map to be scanned; may be given several times",
    )
    parser.add_argument(
        "--scanner",
        nargs="+",
        choices=SCANNER_KINDS,
        help=f"scanners for --anatomy; default: {DEFAULT_SCANNER}",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        type=given_path,
        default=[],
        metavar="MANIFEST",
        help="data sets that the trainer takes (manifest or folder of HDF5 files), judged on the region round each "
        "ear; or a JSON file that lists cases and anatomies, judged as a scan that comes in",
    )


def _add_data_set_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--contrast",
        choices=("own", "matched", "clusters"),
        default="own",
        help="with data sets: each scan's own contrast, matched to that of the scans the model was trained on, or "
        "matched so in clusters of scans; refused where a card does not hold it",
    )
    parser.add_argument(
        "--clusters",
        type=int,
        metavar="N",
        help="with --contrast clusters: how many there are (default: 4, as among the data sets of "
        "Stebani et al.); scans of one scanner are one",
    )
    parser.add_argument(
        "--pool",
        action="store_true",
        help="with data sets: runs of one configuration (gold-fold1, gold-fold2, …) are one method; each ear is judged "
        "by the runs that held it out",
    )


def run_evaluate_command(chosen: argparse.Namespace, judge: Callable | None = None) -> int:
    """Evaluates as the parsed arguments ask.

    Args:
        chosen: the arguments.
        judge: takes the place of `evaluate.judged_model`; for tests.

    Returns:
        The exit code: 0; 2 where a scan could not be judged, the others' figures are written all the same; 130 after an
        interruption that leaves something to go on with. Bad input raises.

    Raises:
        InputError, ModelError: an argument, a file or a model cannot be used.
    """
    try:
        return _evaluated(chosen, judge)
    except KeyboardInterrupt:
        if not chosen.output.is_dir():
            raise
        say(f"Cancelled; the same command goes on with what is in {chosen.output}.", sys.stderr)
        return EXIT_CANCELLED


def _evaluated(chosen: argparse.Namespace, judge: Callable | None) -> int:
    from InnerEarAILib.evaluation.evaluate import evaluate, judged_model
    from InnerEarAILib.evaluation.held_out import held_out
    from InnerEarAILib.evaluation.manifest_cases import is_data_set
    from InnerEarAILib.evaluation.model_names import apart
    from InnerEarAILib.evaluation.report import write_report
    from InnerEarAILib.inference.device import DeviceError, choose_device
    from InnerEarAILib.model_store import find_card
    from InnerEarAILib.result_files import check_folder

    check_arguments(chosen)
    for folder in filter(None, (chosen.output, chosen.drawn)):
        check_folder(folder)
    cards = [find_card(name, chosen.models) for name in ([chosen.card] if chosen.card else chosen.model)]
    try:
        device = str(choose_device(chosen.device))
    except DeviceError as error:
        raise InputError(str(error)) from error
    minutes = None if chosen.minutes is None else chosen.minutes / len(cards)
    if any(is_data_set(path) for path in chosen.data):
        return _on_data_sets(chosen, cards, device, minutes)
    outcomes = []
    for card, name in zip(cards, apart(cards), strict=True):
        views = chosen.views or card.views_taught
        judged = (judge or judged_model)(card, chosen.models, device, views, chosen.whole_volume)
        allowed = held_out(_recipes(chosen, card, device), card, name, say)
        outcome = evaluate(replace(judged, name=name), allowed.recipes, chosen.output, chosen.drawn, minutes, say)
        outcomes.append(replace(outcome, taught=allowed.taught, validated=allowed.validated))
        files = write_report(chosen.output, outcomes)
    if chosen.update:
        _update(cards[0], outcomes[0])
    return _closed(outcomes, files, chosen.output)


def _on_data_sets(chosen: argparse.Namespace, cards: Any, device: str, minutes: float | None) -> int:
    from InnerEarAILib.evaluation.manifest_cases import data_set_recipes
    from InnerEarAILib.evaluation.model_names import apart
    from InnerEarAILib.evaluation.pooling import check_poolable, pooled, told_of_runs
    from InnerEarAILib.evaluation.region_outcomes import RegionOptions, judged_on_regions
    from InnerEarAILib.evaluation.report import write_report
    from InnerEarAILib.evaluation.taught import contrast_reference

    # What is refused is refused before the first model is judged, which may take hours.
    if chosen.pool:
        check_poolable(cards)
        for line in told_of_runs(cards):
            say(line)
    for card in cards if chosen.contrast != "own" else ():
        contrast_reference(card)
    options = RegionOptions(device, chosen.views, chosen.contrast, minutes=minutes)
    if chosen.clusters:
        options = replace(options, clusters=chosen.clusters)
    recipes = data_set_recipes(*chosen.data)
    outcomes = []
    for card, name in zip(cards, apart(cards), strict=True):
        outcomes.append(judged_on_regions(card, recipes, chosen.output, options, name, say))
        files = write_report(chosen.output, pooled(outcomes) if chosen.pool else outcomes)
    return _closed(outcomes, files, chosen.output)


def _closed(outcomes: Sequence[Any], files: Sequence[Path], output: Path) -> int:
    """Says what was not done and where the files are; gives the exit code."""
    for outcome in outcomes:
        if outcome.remaining:
            say(f"{outcome.model}: {len(outcome.remaining)} scans remain; the same command goes on with them.")
        if outcome.left_out:
            say(f"{outcome.model}: {len(outcome.left_out)} whole heads were left out, since there is no locator.")
        if outcome.failed:
            say(f"{outcome.model}: {len(outcome.failed)} scans failed; the same command tries them again.")
    say(f"{', '.join(file.name for file in files)} in {output}")
    return EXIT_BAD_INPUT if any(outcome.failed for outcome in outcomes) else EXIT_DONE


def check_arguments(chosen: argparse.Namespace) -> None:
    """Refuses arguments that contradict each other.

    Raises:
        InputError: one sentence.
    """
    given = bool(chosen.case or chosen.anatomy or chosen.data)
    if chosen.card and given:
        raise InputError("--card needs no outside data; judge a model on --case, --anatomy or --data with --model.")
    if chosen.model and not given:
        raise InputError("Say on what to judge the models: --case, --anatomy or --data; or use --card NAME.")
    if (chosen.update or chosen.quick) and not chosen.card:
        raise InputError("--quick and --update go with --card NAME alone.")
    if chosen.clusters is not None and (chosen.contrast != "clusters" or chosen.clusters < 1):
        raise InputError("--clusters takes a whole number from 1, and goes with --contrast clusters alone.")
    if chosen.minutes is not None and not chosen.minutes > 0:
        raise InputError(f"--minutes must be positive, got {chosen.minutes:g}.")
    from InnerEarAILib.evaluation.manifest_cases import is_data_set

    sets = [path for path in chosen.data if is_data_set(path)]
    if sets and (len(sets) < len(chosen.data) or chosen.case or chosen.anatomy):
        raise InputError(f"{sets[0]} is a data set of the trainer; it goes with others of its kind alone.")
    if sets:
        _check_data_set_options(chosen)
    elif chosen.contrast != "own" or chosen.pool:
        name = "--pool" if chosen.pool else "--contrast"
        raise InputError(f"{name} goes with data sets of the trainer alone (--data).")
    if chosen.scanner and not chosen.anatomy:
        raise InputError("--scanner goes with --anatomy alone: other scans have been through one.")
    for files in chosen.case:
        if len(files) not in (2, 3):
            raise InputError(f"--case takes SCAN LABELS [LANDMARKS], got {len(files)} files.")
    for files in chosen.anatomy:
        if len(files) not in (2, 3):
            raise InputError(f"--anatomy takes LABYRINTH LANDMARKS [TISSUES], got {len(files)} files.")


def _check_data_set_options(chosen: argparse.Namespace) -> None:
    given = {"--whole-volume": chosen.whole_volume, "--drawn": chosen.drawn, "--scanner": chosen.scanner}
    if needless := [name for name, value in given.items() if value]:
        raise InputError(
            f"{', '.join(needless)}: not with data sets of the trainer (--data), which are judged as they are, on the "
            "region round each ear."
        )


def _recipes(chosen: argparse.Namespace, card: Any, device: str) -> Any:
    from InnerEarAILib.evaluation.cases import renamed_apart
    from InnerEarAILib.evaluation.given_cases import anatomy_recipes, labelled_recipe, read_case_list
    from InnerEarAILib.evaluation.suite import suite

    if chosen.card:
        return suite(card.spacing_mm, card.role, chosen.quick, device)
    recipes = []
    for path in chosen.data:
        recipes += read_case_list(path, card.spacing_mm, device)
    for scan, labels, *landmarks in chosen.case:
        recipes.append(labelled_recipe(scan, labels, landmarks[0] if landmarks else None))
    for labyrinth, landmarks, *tissues in chosen.anatomy:
        files = (labyrinth, landmarks, tissues[0] if tissues else None)
        recipes += anatomy_recipes(files, chosen.scanner or [DEFAULT_SCANNER], card.spacing_mm, device)
    return renamed_apart(recipes)


def _update(card: Any, outcome: Any) -> None:
    from InnerEarAILib.evaluation.model_page import READABLE_CARD, updated_card

    if not outcome.figures:
        raise InputError("There are no figures yet to be written into the card; allow more --minutes.")
    written = updated_card(card, outcome)
    say(f"The card of {written.name} has the figures of {len(outcome.figures)} scans; see also its {READABLE_CARD}.")
