"""What a training run is: everything in a configuration file, checked before anything starts."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from InnerEarAILib.networks.methods import DUAL_HEAD_UNET, network_config
from InnerEarAILib.training.checked_fields import (
    check_at_least,
    check_positive,
    check_types,
    dataclass_of,
)
from InnerEarAILib.training.data_settings import data_settings
from InnerEarAILib.training.losses import LossConfig, segmentation_loss
from InnerEarAILib.training.schedules import (
    ANNEALING_SHARE,
    NAMED_HEATMAP_SCHEDULES,
    WARMUP_SHARE,
    HeatmapSchedule,
    TrapezoidalRate,
)

CONFIGURATION_FOLDER = Path(__file__).parent / "configurations"
"""Configurations that come with the library, one file each, found by name."""


class ConfigurationError(ValueError):
    """A configuration file cannot be used; the message says where it is wrong and what would be right."""


@contextmanager
def as_configuration_errors() -> Iterator[None]:
    """Round what reads a configuration or opens its data: a ValueError of it tells what was asked for wrongly.

    Raises:
        ConfigurationError: in place of the ValueError.
    """
    try:
        yield
    except ConfigurationError:
        raise
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


@dataclass(frozen=True)
class OptimisationConfig:
    """How the weights are changed.

    Attributes:
        optimiser: "adamw" or "sgd" (Nesterov).
        learning_rate: of the plateau.
        weight_decay: 0.025 in the paper.
        betas: running-average coefficients of AdamW.
        momentum: of SGD.
        warmup_share: share of the training in which the learning rate rises.
        annealing_share: share of the training in which it falls.
        iterations: forward and backward passes, of all processes together; 75 000 in the paper.
        batch: tiles in a pass.
        slices: in a pass of a 2D network, shared out among the batch's tiles; 20 in Hussain et al. 2021.
        accumulation: passes whose gradients are averaged for one step, of all processes together; 15 in the paper's
            gold status.
        gradient_norm: longer gradients are shortened to this length; 0 leaves them.
        ema_decay: of the moving average of the weights, which is validated and exported; 0: the weights themselves.
        precision: "bf16" (mixed) or "fp32".

    Raises:
        ValueError: if a value is not of its type or out of its range.
    """

    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.025
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.99
    warmup_share: float = WARMUP_SHARE
    annealing_share: float = ANNEALING_SHARE
    iterations: int = 75_000
    batch: int = 1
    slices: int = 20
    accumulation: int = 15
    gradient_norm: float = 12.0
    ema_decay: float = 0.0
    precision: Literal["bf16", "fp32"] = "bf16"

    def __post_init__(self) -> None:
        check_types(self)
        check_at_least(1, self, "iterations", "batch", "slices", "accumulation")
        check_at_least(0, self, "weight_decay", "gradient_norm")
        check_positive(self, "learning_rate")
        for name, values in (("betas", self.betas), ("momentum", (self.momentum,)), ("ema_decay", (self.ema_decay,))):
            for value in values:
                if not 0 <= value < 1:
                    raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
        if self.optimiser == "sgd":  # Nesterov's is nothing without
            check_positive(self, "momentum")
        _ = self.rate  # refuses shares that are longer than the training

    @property
    def rate(self) -> TrapezoidalRate:
        """The learning-rate schedule."""
        return TrapezoidalRate(self.learning_rate, self.warmup_share, self.annealing_share)


@dataclass(frozen=True)
class WatchConfig:
    """How often a run looks up from its work.

    Attributes:
        report_every: iterations between two rows of the metrics table.
        validate_every: iterations between validations; 750 in the paper.
        checkpoint_minutes: time between checkpoints, at most.
        workers: processes that prepare samples; 0: the one that trains.

    Raises:
        ValueError: if a value is not of its type or out of its range.
    """

    report_every: int = 50
    validate_every: int = 750
    checkpoint_minutes: float = 10.0
    workers: int = 1

    def __post_init__(self) -> None:
        check_types(self)
        check_at_least(1, self, "report_every", "validate_every")
        check_at_least(0, self, "workers")
        check_positive(self, "checkpoint_minutes")


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes:
        name: of the model, and of its folder: letters, digits, “_”, “-” and “.”.
        role: "segmenter" or "locator", for the card.
        description: one sentence for the card.
        spacing_mm: isotropic voxel edge of the model's grid.
        tile_voxels: edge of a tile.
        seed: of initialisation and samples.
        network: the configuration of the method's network.
        loss: the loss.
        heatmaps: amplitude and spread of the heatmaps over the training.
        optimisation: optimiser, rates, lengths.
        watch: reports, validation, checkpoints.
        data: the table that says where samples come from, as it stands in the file; its "kind" names the reader, see
            data_settings. Empty: labelled scans are named later.
        method: a key of networks.methods.METHODS.

    Raises:
        ValueError: if a value is not of its type or out of its range, or the data table is not understood.
    """

    name: str
    role: Literal["segmenter", "locator"]
    description: str
    spacing_mm: float
    tile_voxels: int
    seed: int
    network: Any
    loss: LossConfig
    heatmaps: HeatmapSchedule
    optimisation: OptimisationConfig
    watch: WatchConfig
    data: Mapping[str, Any]
    method: str = DUAL_HEAD_UNET

    def __post_init__(self) -> None:
        check_types(self)
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"name must be of letters, digits, “_”, “-” and “.”, to name a folder, got {self.name!r}")
        check_positive(self, "spacing_mm", "tile_voxels")
        check_at_least(0, self, "seed")
        if self.tile_voxels % self.network.size_multiple:
            raise ValueError(f"tile_voxels must be a multiple of {self.network.size_multiple}, got {self.tile_voxels}")
        if self.data:
            data_settings(self.data)


def read_configuration(path_or_name: str | Path) -> TrainingConfig:
    """The configuration in a TOML file, or the one of that name that comes with the library.

    Raises:
        ConfigurationError: if there is no such file, or something in it is unknown, missing or not allowed.
        ModuleNotFoundError: see `configuration_of`.
    """
    table = read_table(path_or_name)
    try:
        return configuration_of(table)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{_found(path_or_name).name}: {error}") from None


def read_table(path_or_name: str | Path, unlike: Sequence[Path] = ()) -> dict[str, Any]:
    """A configuration file as it stands; `like` names another one, whose entries hold where this one says nothing.

    That file, and the data set that [data] names, are looked for beside this one first.

    Args:
        path_or_name: see `read_configuration`.
        unlike: files that are like this one, and that it therefore cannot be like.

    Raises:
        ConfigurationError: if there is no such file, or it is no TOML file.
    """
    path = _found(path_or_name)
    if path in unlike:
        raise ConfigurationError(f"{path.name} is like itself by way of {unlike[-1].name}.")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # programs of Windows begin a file with its mark
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name} is not a TOML file: {error}.") from None
    _look_beside(path, table)
    like = table.pop("like", None)
    if like is None:
        return table
    if not isinstance(like, str):
        raise ConfigurationError(f"{path.name}: like must name a configuration, got {like!r}.")
    beside = path.parent / like
    return changed(read_table(beside if beside.is_file() else like, (*unlike, path)), table)


def _look_beside(path: Path, table: Mapping[str, Any]) -> None:
    """Replaces the manifest of a file's [data] by what lies in that place as seen from the file, if anything does."""
    section = table.get("data")
    manifest = section.get("manifest") if isinstance(section, dict) else None
    if manifest and isinstance(manifest, str) and os.path.exists(path.parent / manifest):
        section["manifest"] = str(path.parent / manifest)


def changed(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's table with other entries; those of its sections one by one.

    The sections of another method's network and of another kind of data begin anew, and so do heatmaps, whose entries
    are two ways to say the same.
    """
    merged = dict(table)
    if changes.get("method", table.get("method")) != table.get("method"):
        merged.pop("network", None)
    for name, value in changes.items():
        inner = merged.get(name)
        if (
            (name == "heatmaps" and value)
            or not isinstance(value, dict)
            or not isinstance(inner, dict)
            or value.get("kind", inner.get("kind")) != inner.get("kind")
        ):
            merged[name] = value
        else:
            merged[name] = {**inner, **value}
    return merged


def configuration_of(table: Mapping[str, Any]) -> TrainingConfig:
    """The configuration that a parsed file describes.

    Raises:
        ValueError: if something is unknown, missing or not allowed.
        ModuleNotFoundError: if its loss needs MONAI, which is not installed.
    """
    table = dict(table)
    parts = {
        "network": _network(table),
        "loss": dataclass_of(LossConfig, _section(table, "loss"), "[loss]"),
        "heatmaps": _heatmap_schedule(_section(table, "heatmaps")),
        "optimisation": dataclass_of(OptimisationConfig, _section(table, "optimisation"), "[optimisation]"),
        "watch": dataclass_of(WatchConfig, _section(table, "watch"), "[watch]"),
        "data": _section(table, "data"),
    }
    # Made anew when training begins, which may be an hour later: scans are prepared or drawn before.
    segmentation_loss(parts["loss"].segmentation)
    return dataclass_of(TrainingConfig, {"seed": 1, **table, **parts}, "the file")


def _found(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if not path.is_file():
        path = CONFIGURATION_FOLDER / f"{path_or_name}.toml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in CONFIGURATION_FOLDER.glob("*.toml")))
        raise ConfigurationError(
            f"No configuration file {path_or_name}, and none of that name here; there are: {names}."
        )
    return path


def _section(table: dict[str, Any], name: str) -> dict[str, Any]:
    section = table.pop(name, {})
    if not isinstance(section, dict):
        raise ValueError(f"[{name}] must be a table")
    return section


def _network(table: dict[str, Any]) -> Any:
    section = _section(table, "network")
    try:
        return network_config(table.get("method", DUAL_HEAD_UNET), section)
    except TypeError as error:  # of a class that compares before it asks what it compares
        raise ValueError(f"[network] has an entry of a wrong type: {error}") from None


@dataclass(frozen=True)
class _HeatmapEntries:
    """The [heatmaps] table: rows of progress, amplitude and spread (voxels), or the name of a schedule."""

    milestones: tuple[tuple[float, float, float], ...] | None = None
    schedule: str | None = None

    def __post_init__(self) -> None:
        check_types(self)


def _heatmap_schedule(section: Mapping[str, Any]) -> HeatmapSchedule:
    entries: _HeatmapEntries = dataclass_of(_HeatmapEntries, section, "[heatmaps]")
    if entries.milestones is not None and entries.schedule is not None:
        raise ValueError("[heatmaps] gives milestones and a schedule, which say the same; give one of them")
    if entries.milestones is not None:
        return HeatmapSchedule.of(entries.milestones)
    name = "gamma" if entries.schedule is None else entries.schedule
    if name not in NAMED_HEATMAP_SCHEDULES:
        raise ValueError(f"unknown heatmap schedule {name!r}; there are {', '.join(NAMED_HEATMAP_SCHEDULES)}")
    return NAMED_HEATMAP_SCHEDULES[name]
