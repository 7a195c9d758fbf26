"""Runs ablations: trains each variation on each fold, judges it on what the fold holds out and on test sets.

OUT/runs/NAME-foldN     run folder of the trainer with its configuration; a run that was ended is gone on with
OUT/scans               the data set on the models' grids, shared by all runs
OUT/cases               figures of every case, as `evaluate` keeps them
ablation_report.py says what is collected from them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from InnerEarAILib.evaluation.cases import renamed_apart
from InnerEarAILib.evaluation.catalogue import BASE, Variation
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.held_out import VALIDATION_GROUP
from InnerEarAILib.evaluation.manifest_cases import data_set_recipes, of_cases
from InnerEarAILib.evaluation.region_outcomes import RegionOptions, judged_on_regions
from InnerEarAILib.evaluation.regions import Contrast
from InnerEarAILib.inference.device import choose_device
from InnerEarAILib.model_store import load_card
from InnerEarAILib.training.checkpoint import CHECKPOINT_FILE, read_numbers
from InnerEarAILib.training.configuration import (
    ConfigurationError,
    TrainingConfig,
    as_configuration_errors,
    changed,
    configuration_of,
)
from InnerEarAILib.training.data_source import data_of, open_data, split_of
from InnerEarAILib.training.export import model_exporter
from InnerEarAILib.training.manifest import Manifest, read_manifest
from InnerEarAILib.training.run_folder import make_folder, write_configuration
from InnerEarAILib.training.run_settings import TOLD, changed_scans, changed_settings, settings_of
from InnerEarAILib.training.trainer import Trainer
from InnerEarAILib.volume import InputError
from InnerEarAILib.whole_files import replacing

DONE_FILE = "done.json"

FREE = ("data.manifest",)
"""Setting of a run that may differ when it is taken over: where the scans lie."""


@dataclass(frozen=True)
class AblationPlan:
    """What is to be run.

    Attributes:
        table: the base configuration as `configuration.read_table` gives it.
        data: the data set that is trained on and validated on.
        tests: further data sets.
        folds: how many folds are trained; three in the paper.
        budget: iterations of each run; None: as many as the configuration says.
        device: "auto", "cpu", "cuda" or "cuda:N".
        views, contrast: see regions.RegionJudge.
    """

    table: Mapping[str, Any]
    data: Path
    tests: tuple[Path, ...] = ()
    folds: int = 1
    budget: int | None = None
    device: str = "auto"
    views: int = 1
    contrast: Contrast = "own"


@dataclass(frozen=True)
class AblationRun:
    """A variation that was trained and judged.

    Attributes:
        variation: what was changed.
        fold: from 1.
        outcome: its figures.
        minutes: of training.
    """

    variation: Variation
    fold: int
    outcome: Outcome
    minutes: float


def run_configuration(plan: AblationPlan, variation: Variation, fold: int) -> TrainingConfig:
    """The configuration of one run.

    Raises:
        ConfigurationError: if the base and the variation do not go together.
    """
    with as_configuration_errors():
        return configuration_of(run_table(plan, variation, fold))


def run_table(plan: AblationPlan, variation: Variation, fold: int) -> dict[str, Any]:
    """The same as a configuration file says it.

    Raises:
        ConfigurationError: if the base is not trained on labelled scans.
    """
    own: dict[str, Any] = {"name": variation.name, "data": {"manifest": str(plan.data), "fold": fold}}
    if plan.budget is not None:
        own["optimisation"] = {"iterations": plan.budget}
    table = changed(changed(plan.table, variation.changes), own)
    if table.get("data", {}).get("kind") != "manifest":
        raise ConfigurationError(
            "An ablation's base is trained on labelled scans: its [data] must be of the kind manifest."
        )
    return table


def told_from_base(plan: AblationPlan, variations: Sequence[Variation]) -> tuple[list[Variation], dict[str, str]]:
    """The variations that can be run and differ from the base, with the base itself; and why not, of the others.

    Raises:
        ConfigurationError: if the base cannot be run.
    """
    base = _resolved(run_configuration(plan, Variation(BASE, "base", {}), 1))
    kept, why_not = [], {}
    for variation in variations:
        try:
            varied = _resolved(run_configuration(plan, variation, 1))
        except ConfigurationError as error:
            why_not[variation.name] = str(error)
            continue
        if variation.name != BASE and replace(varied, name=base.name) == base:
            why_not[variation.name] = "what is varied is so itself"
        else:
            kept.append(variation)
    return kept, why_not


def ablate(
    plan: AblationPlan,
    variations: Sequence[Variation],
    output: Path,
    say: Callable[[str], None] = print,
    collected: Callable[[Sequence[AblationRun]], None] = lambda runs: None,
) -> list[AblationRun]:
    """Trains and judges variations one after the other; what is done is not done again.

    Args:
        plan: the conditions.
        variations: in order.
        output: folder of the ablation.
        say: told what happens.
        collected: told after every run of all there are.

    Raises:
        InputError, ManifestError, ConfigurationError: if the plan cannot be followed.
        KeyboardInterrupt: if the user interrupts; the same plan goes on.
    """
    manifest = read_manifest(plan.data)
    make_folder(output)
    # Together: figures of a fold's own cases and of the tests lie side by side, and folds are pooled by name.
    named = renamed_apart([*of_cases(manifest, VALIDATION_GROUP), *data_set_recipes(*plan.tests)])
    own, tests = named[: len(manifest.cases)], named[len(manifest.cases) :]
    runs: list[AblationRun] = []
    _held_out(run_configuration(plan, variations[0], plan.folds), manifest)  # refused before hours of training
    for variation in variations:
        for fold in range(1, plan.folds + 1):
            say(f"{variation.name}, fold {fold}")
            table, config = run_table(plan, variation, fold), run_configuration(plan, variation, fold)
            folder = output / "runs" / f"{variation.name}-fold{fold}"
            minutes = _trained(config, table, folder, output / "scans", plan.device, say)
            held_out = [own[number] for number in _held_out(config, manifest)]
            outcome = judged_on_regions(
                load_card(config.name, folder / "best"),
                [*held_out, *tests],
                output,
                RegionOptions(plan.device, plan.views, plan.contrast, pictures=False),
                f"{variation.name}-fold{fold}",
                say,
            )
            runs.append(AblationRun(variation, fold, outcome, minutes))
            collected(runs)
    return runs


def _trained(
    config: TrainingConfig,
    table: Mapping[str, Any],
    folder: Path,
    scans: Path,
    device_name: str,
    say: Callable[[str], None],
) -> float:
    """Trains a run to its end unless it was; returns the minutes that it took. The folder keeps the table.

    Raises:
        InputError: if the folder holds a run of other settings or of other data.
    """
    done = folder / DONE_FILE
    # The grid is part of the folder's name: variations of one grid share what was prepared.
    prepared = scans / f"{config.spacing_mm:g}mm"
    with ExitStack() as opened:
        with as_configuration_errors():
            data = opened.enter_context(open_data(config, prepared, say))
        settings, kept = settings_of(config, data), _kept(done)
        _check_same_run(folder, kept, settings)
        if "minutes" in kept:
            say("  trained before")
            return kept["minutes"]
        make_folder(folder)
        write_configuration(folder, table)
        _keep(done, {"settings": settings})
        device = choose_device(device_name)
        trainer = Trainer(
            config,
            data.source,
            data.validation,
            folder,
            model_exporter(config, data, folder, device),
            device,
            say=say,
            settings=settings,
        )
        if trainer.checkpoint_path.is_file():
            trainer.resume()
        trainer.run()
    minutes = trainer.state.seconds / 60
    _keep(done, {"settings": settings, "minutes": minutes})
    return minutes


def _check_same_run(folder: Path, kept: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuses to take over a run of other settings, or one that was taught other scans, labels or landmarks.

    Raises:
        InputError: that says what differs and what to do.
    """
    # Earlier versions kept the settings in the checkpoint alone.
    checkpoint = folder / CHECKPOINT_FILE
    began = kept.get("settings") or (read_numbers(checkpoint).get("settings") if checkpoint.is_file() else None)
    if not began:
        if "minutes" in kept:
            raise InputError(f"{folder} does not say what it was trained on; name another folder with -o.")
        return
    if told := changed_settings(began, settings, FREE):
        raise InputError(
            f"{folder} holds a run with other settings ({', '.join(told[:TOLD])}); name another folder with -o."
        )
    if told := changed_scans(began, settings):
        raise InputError(
            f"The data set has changed since {folder} was trained: {', '.join(told)}. Name another folder with -o, or "
            "remove this one, and it is trained anew."
        )


def _kept(done: Path) -> dict[str, Any]:
    """What stands there of a run; nothing where the file is not there or damaged."""
    try:
        return json.loads(done.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _keep(done: Path, kept: dict[str, Any]) -> None:
    with replacing(done) as unfinished:
        unfinished.write_text(json.dumps(kept), encoding="utf-8")


def _held_out(config: TrainingConfig, manifest: Manifest) -> list[int]:
    with as_configuration_errors():
        return split_of(config, data_of(config), manifest)[1]


def _resolved(config: TrainingConfig) -> TrainingConfig:
    """The configuration with the defaults of its [data] table filled in."""
    with as_configuration_errors():
        return replace(config, data={"kind": config.data["kind"], **asdict(data_of(config))})
