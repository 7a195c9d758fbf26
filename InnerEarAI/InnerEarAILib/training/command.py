"""`train`: from a configuration to a run folder and a model folder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from InnerEarAILib import __version__
from InnerEarAILib.argument_types import given_path, positive_minutes
from InnerEarAILib.failures import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE
from InnerEarAILib.saying import say

if TYPE_CHECKING:
    import torch
    from torch import nn

    from InnerEarAILib.model_card import ModelCard
    from InnerEarAILib.training.configuration import TrainingConfig
    from InnerEarAILib.training.data_source import TrainingData
    from InnerEarAILib.training.processes import Processes
    from InnerEarAILib.training.trainer import Trainer

CONFIGURATIONS = tuple(sorted(file.stem for file in (Path(__file__).parent / "configurations").glob("*.toml")))
"""Names of those that come with the library (configuration.CONFIGURATION_FOLDER, which brings in torch)."""

RUN_ENDINGS = "metrics.csv, checkpoint.safetensors, last/, best/"


def add_train_command(subparsers: argparse._SubParsersAction) -> None:
    """Adds `train` to a command line."""
    parser = subparsers.add_parser(
        "train",
        help="train a network",
        description=f"Trains a network by a configuration and leaves a run folder: {RUN_ENDINGS}.",
        epilog="Exit codes: 0 done, 1 unexpected error or not enough memory, 2 bad input or arguments, 130 cancelled.",
    )
    parser.add_argument("configuration", metavar="CONFIG", help="TOML file, or the name of one that comes with the "
                        f"library: {', '.join(CONFIGURATIONS)}")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    parser.add_argument("--from", dest="begin_with", metavar="MODEL", help="begin with the weights of a model: its "
                        "name in the store, or its folder")  # fmt: skip
    parser.add_argument("--minutes", type=positive_minutes, metavar="M", help="time budget; the schedules end with it")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("-o", "--output", type=given_path, metavar="RUN", help="run folder (default: runs/NAME, with "
                        "--fold runs/NAME-foldN; of RUN/configuration.toml with --resume: RUN)")  # fmt: skip
    parser.add_argument("--data", type=given_path, metavar="MANIFEST", help="labelled scans to train on: a manifest, "
                        "or a folder of HDF5 files, whose voxels then count as 0.099 mm wide")  # fmt: skip
    parser.add_argument("--fold", type=int, metavar="N", help="which fold of the labelled scans (default: 1)")
    parser.add_argument("--anatomies", type=given_path, metavar="DIR", help="folder of drawn anatomies, or of the "
                        "prepared scans of --data, which folds trained one after the other can share (default: "
                        "RUN/anatomies or RUN/scans)")  # fmt: skip
    parser.set_defaults(handler=run_train_command)


def run_train_command(arguments: argparse.Namespace) -> int:
    """Trains as the parsed arguments ask; returns the exit code: 0 done, 2 bad input, 130 cancelled."""
    from InnerEarAILib.inference.device import DeviceError
    from InnerEarAILib.model_card import ModelError
    from InnerEarAILib.training.configuration import ConfigurationError
    from InnerEarAILib.volume import InputError

    try:
        _train(arguments)
    except (ConfigurationError, DeviceError, InputError, ModelError) as error:
        say(str(error), sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        say("Cancelled; --resume goes on from the last checkpoint.", sys.stderr)
        return EXIT_CANCELLED
    return EXIT_DONE


def _train(arguments: argparse.Namespace) -> None:
    from InnerEarAILib.inference.device import choose_device
    from InnerEarAILib.model_store import find_card, load_network
    from InnerEarAILib.training.configuration import (
        as_configuration_errors,
        read_configuration,
        read_table,
    )
    from InnerEarAILib.training.data_source import open_data, with_manifest
    from InnerEarAILib.training.processes import own_device, started_processes
    from InnerEarAILib.training.run_folder import make_folder, write_configuration, write_run
    from InnerEarAILib.training.trainer import check_beginning

    with as_configuration_errors():
        config = with_manifest(read_configuration(arguments.configuration), arguments.data, arguments.fold)
    table = _complete(read_table(arguments.configuration), config)
    device = choose_device(own_device(arguments.device))
    folder = arguments.output or _default_folder(arguments, config)
    _check_run(arguments, config, folder)
    begun_with = find_card(arguments.begin_with) if arguments.begin_with else None
    if begun_with:
        trained = load_network(begun_with, device)
        check_beginning(trained, config.network, _version(begun_with))
    make_folder(folder)
    anatomies = arguments.anatomies or _kept_anatomies(arguments, folder)
    prepared = anatomies or folder / ("scans" if config.data.get("kind") == "manifest" else "anatomies")
    with started_processes(cuda=device.type == "cuda") as processes, ExitStack() as opened:
        if not processes.leads:
            processes.wait()
        tell = say if processes.leads else _silent
        with as_configuration_errors():
            data = opened.enter_context(open_data(config, prepared, tell, processes.leads))
        if processes.leads:
            processes.wait()
        trainer = _trainer(arguments, config, data, folder, device, tell, processes)
        if arguments.resume:
            trainer.resume()
        if begun_with:
            _begin_with(trainer, begun_with, trained, data, tell)
        if processes.leads:
            write_configuration(folder, table)
            first = _version(begun_with) if begun_with else None
            write_run(folder, _told(arguments, config, folder, anatomies, first, processes.count))
        trainer.run()
        tell(f"Done: weights in {folder / 'best'} and {folder / 'last'}")


def _trainer(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    data: TrainingData,
    folder: Path,
    device: torch.device,
    tell: Callable[[str], None],
    processes: Processes,
) -> Trainer:
    from InnerEarAILib.training.export import model_exporter
    from InnerEarAILib.training.run_settings import settings_of
    from InnerEarAILib.training.trainer import Trainer

    return Trainer(
        config,
        data.source,
        data.validation,
        folder,
        model_exporter(config, data, folder, device, processes),
        device,
        arguments.minutes,
        tell,
        processes,
        settings_of(config, data),
    )


def _begin_with(
    trainer: Trainer, card: ModelCard, trained: nn.Module, data: TrainingData, tell: Callable[[str], None]
) -> None:
    """Gives the network the weights of a model, and says where these have seen scans that are held out now."""
    from InnerEarAILib.training.seen_scans import SeenScans

    seen = SeenScans.of_figures(card.figures)
    trainer.begin_with(trained, _version(card), seen)
    if known := data.seen.validated.shared(seen.taught):
        tell(f"{card.name} was trained on {known} of the scans that are held out: they flatter it.")


def _check_run(arguments: argparse.Namespace, config: TrainingConfig, folder: Path) -> None:
    """Refuses to begin a run where one is, and to go on with none or another, before anything is drawn or prepared.

    Raises:
        ConfigurationError: that says what to do.
    """
    from InnerEarAILib.training.checkpoint import CHECKPOINT_FILE, read_numbers
    from InnerEarAILib.training.configuration import ConfigurationError, as_configuration_errors
    from InnerEarAILib.training.run_settings import check_settings, settings_of_configuration

    checkpoint = folder / CHECKPOINT_FILE
    if arguments.begin_with and arguments.resume:
        raise ConfigurationError("--from begins a run, --resume goes on with one: give one of them.")
    if arguments.resume:
        with as_configuration_errors():
            now = settings_of_configuration(config)
        check_settings(read_numbers(checkpoint).get("settings", {}), now, checkpoint)
    elif os.path.exists(checkpoint):  # Path.exists raises where a folder above may not be looked into
        raise ConfigurationError(f"{folder} holds a run already; add --resume to go on, or name another with -o.")


def _kept_anatomies(arguments: argparse.Namespace, folder: Path) -> Path | None:
    """The folder that --anatomies named when the run began; None where it named none, or it is gone."""
    from InnerEarAILib.training.run_folder import read_run

    kept = read_run(folder).get("anatomies") if arguments.resume else None
    return Path(kept) if kept and Path(kept).is_dir() else None


def _default_folder(arguments: argparse.Namespace, config: TrainingConfig) -> Path:
    from InnerEarAILib.training.checkpoint import CHECKPOINT_FILE
    from InnerEarAILib.training.run_folder import CONFIGURATION_FILE

    given = Path(arguments.configuration)
    if arguments.resume and given.name == CONFIGURATION_FILE and (given.parent / CHECKPOINT_FILE).is_file():
        return given.parent
    fold = "" if arguments.fold is None else f"-fold{arguments.fold}"
    return Path("runs") / f"{config.name}{fold}"


def _complete(table: dict[str, Any], config: TrainingConfig) -> dict[str, Any]:
    """What RUN/configuration.toml says: the file's table, with the data set and the fold that arguments named."""
    manifest = config.data.get("manifest")
    where = {"manifest": str(Path(manifest).resolve())} if manifest else {}
    return {**table, "data": {**config.data, **where}}


def _told(
    arguments: argparse.Namespace,
    config: TrainingConfig,
    folder: Path,
    anatomies: Path | None,
    begun_with: str | None,
    processes: int,
) -> dict[str, Any]:
    """What RUN/run.json says: how the run began, and where its prepared scans lie now."""
    from InnerEarAILib.training.run_folder import read_run

    where = {"anatomies": str(anatomies.resolve()) if anatomies else None}
    if arguments.resume:
        return read_run(folder) | where
    labelled = config.data.get("kind") == "manifest"
    return {
        "configuration": arguments.configuration,
        "data": str(Path(config.data["manifest"]).resolve()) if labelled else None,
        "fold": config.data.get("fold", 1) if labelled else None,
        "from": begun_with,
        "processes": processes,
        "library_version": __version__,
        **where,
    }


def _version(card: ModelCard) -> str:
    return f"{card.name} {card.version}"


def _silent(line: str) -> None:
    del line
