"""Opens the samples that a configuration's [data] table describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from InnerEarAILib.training.augmentation import AUGMENTATIONS
from InnerEarAILib.training.configuration import TrainingConfig, dataclass_of
from InnerEarAILib.training.manifest import Manifest, check_cases, read_manifest
from InnerEarAILib.training.manifest_dataset import (
    ManifestSource,
    is_prepared,
    prepare_case,
    prepared_sha256,
    validation_tiles,
)
from InnerEarAILib.training.phantom_dataset import PhantomSampling, PhantomSource
from InnerEarAILib.training.phantom_pool import TRAINING, VALIDATION, AnatomyPool, AnatomyRecipe, BackgroundGrowth
from InnerEarAILib.training.samples import SampleSource, TrainingSample
from InnerEarAILib.training.seen_scans import ScanList, SeenScans
from InnerEarAILib.training.splits import Split, partition, redraw


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on.

    Attributes:
        source: training samples.
        validation: fixed samples.
        trained_on: one sentence for the card.
        validated_on: one sentence for the card.
        limits: one sentence for the card.
        region_mm: edge of the cube whose intensities are normalised together; inference does the same.
        seen: the labelled scans that are trained on and validated on.
    """

    source: SampleSource
    validation: list[TrainingSample]
    trained_on: str
    validated_on: str
    limits: str
    region_mm: float
    seen: SeenScans = field(default_factory=SeenScans)


@dataclass(frozen=True)
class PhantomData:
    """The [data] table of kind "phantom".

    Attributes:
        anatomies: kinds of anatomies and their shares; see AnatomyRecipe.
        anatomy_spacing_mm, anatomy_extent_mm, truth_spacing_mm: see AnatomyRecipe.
        pool_size: anatomies kept on disk.
        at_start: anatomies drawn before training begins.
        at_most: anatomies drawn in all.
        validation_anatomies: further anatomies that are validated on.
        validation_samples: samples taken of them.
        sampling: how samples are taken of an anatomy; see PhantomSampling.
    """

    anatomies: dict[str, float]
    anatomy_spacing_mm: float
    anatomy_extent_mm: float
    sampling: PhantomSampling
    truth_spacing_mm: float | None = None
    pool_size: int = 150
    at_start: int = 12
    at_most: int = 150
    validation_anatomies: int = 6
    validation_samples: int = 16


@dataclass(frozen=True)
class ManifestData:
    """The [data] table of kind "manifest".

    Attributes:
        manifest: the manifest, or a folder of HDF5 files; see manifest.read_manifest. Empty: it is named later.
        fold: which random split is trained, 1 to `folds`.
        folds: how many there are; three in Stebani et al. 2023, four in Hussain et al. 2021.
        split: "redraw": each fold draws its held-out cases anew (Stebani et al.); "partition": each holds out another
            of `folds` parts, so that every case is held out once (Hussain et al.). See splits.
        validation_cases: cases that a redraw holds out; five of 43 in Stebani et al.
        augmentation: "none", "alpha" or "beta"; see augmentation.AUGMENTATIONS.
        labyrinth_share: share of tiles that show the labyrinth for certain; ours.
        validation_tiles: fixed tiles of each held-out case.
        region_mm: edge of the cube round the labyrinth that is kept and normalised together; as inference does.
        tiles: "random" places, or the "whole" labyrinth in the middle of every tile.
    """

    manifest: str = ""
    fold: int = 1
    folds: int = 3
    split: Split = "redraw"
    validation_cases: int = 5
    augmentation: str = "beta"
    labyrinth_share: float = 0.7
    validation_tiles: int = 8
    region_mm: float = 40.0
    tiles: Literal["random", "whole"] = "random"

    def __post_init__(self) -> None:
        if self.split not in get_args(Split):
            raise ValueError(f"split must be {' or '.join(get_args(Split))}, got {self.split!r}")
        if self.tiles not in ("random", "whole"):
            raise ValueError(f"tiles must be random or whole, got {self.tiles!r}")
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {self.augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
        if not 1 <= self.fold <= self.folds:
            raise ValueError(f"fold must be 1 to {self.folds}, got {self.fold}")


def with_manifest(config: TrainingConfig, manifest: Path | None, fold: int | None) -> TrainingConfig:
    """The configuration, trained on a data set instead, or on another of its folds; None leaves either.

    Raises:
        ValueError: if a fold is asked for where there is no data set.
    """
    data = dict(config.data)
    if manifest is not None:
        data = data if data.get("kind") == "manifest" else {"kind": "manifest"}
        data["manifest"] = str(manifest)
    if fold is not None:
        if data.get("kind") != "manifest":
            raise ValueError("--fold needs a data set: name one with --data, or in the configuration's [data]")
        data["fold"] = fold
    return replace(config, data=data)


@contextmanager
def open_data(
    config: TrainingConfig, folder: Path, say: Callable[[str], None] = print, leads: bool = True
) -> Iterator[TrainingData]:
    """The samples of a configuration, for as long as the context lasts.

    Args:
        config: the run.
        folder: where drawn anatomies or prepared scans are kept.
        say: told of what takes long.
        leads: whether this process draws and prepares; another has done so already where it does not.

    Raises:
        ValueError: if the [data] table is not understood.
        ManifestError: if the data set cannot be used.
    """
    described = data_of(config)
    if isinstance(described, ManifestData):
        yield _open_manifest(config, described, folder, say)
    else:
        with _open_phantom(config, described, folder, say, leads) as data:
            yield data


def data_of(config: TrainingConfig) -> ManifestData | PhantomData:
    """The [data] table of a configuration.

    Raises:
        ValueError: if it is not understood.
    """
    table = dict(config.data)
    kind = table.pop("kind", None)
    if kind == "manifest":
        return dataclass_of(ManifestData, table, "[data]")
    if kind == "phantom":
        sampling = dataclass_of(PhantomSampling, table.pop("sampling", {}), "[data.sampling]")
        return dataclass_of(PhantomData, {**table, "sampling": sampling}, "[data]")
    raise ValueError(f'[data] has the kind {kind!r}; known are "phantom" and "manifest"')


def split_of(config: TrainingConfig, data: ManifestData, manifest: Manifest) -> tuple[list[int], list[int]]:
    """Numbers of the cases of a data set that a configuration trains on, and of those that it holds out.

    Raises:
        ValueError: if there are too few cases or patients for it.
    """
    patients = [case.one_patient for case in manifest.cases]
    if data.split == "partition":
        return partition(patients, data.fold, data.folds, config.seed)
    return redraw(patients, data.fold, data.validation_cases, config.seed)


def _open_manifest(
    config: TrainingConfig, data: ManifestData, folder: Path, say: Callable[[str], None]
) -> TrainingData:
    if not data.manifest:
        raise ValueError("This configuration is for labelled scans: name them with --data.")
    manifest = read_manifest(Path(data.manifest))
    folders = [folder / f"{number:04d}" for number in range(len(manifest.cases))]
    grid = config.spacing_mm, data.region_mm
    training, held_out = split_of(config, data, manifest)
    new = [number for number, case in enumerate(manifest.cases) if not is_prepared(case, folders[number], *grid)]
    if new:
        say(f"Checking {len(new)} scans of {manifest.name}")
        check_cases((manifest.cases[number] for number in new), config.spacing_mm)
    for done, number in enumerate(new, start=1):
        say(f"Preparing scan {done} of {len(new)}")
        prepare_case(manifest.cases[number], folders[number], *grid)
    taught = tuple(folders[number] for number in training)
    whole = data.tiles == "whole"

    def scans(numbers: Sequence[int]) -> ScanList:
        names = tuple(manifest.cases[number].name for number in numbers)
        return ScanList({manifest.name: names}, frozenset(prepared_sha256(folders[number]) for number in numbers))

    source = ManifestSource(
        taught, AUGMENTATIONS[data.augmentation], data.labyrinth_share, config.tile_voxels, config.seed, whole
    )
    tiles = validation_tiles(
        [folders[number] for number in held_out], data.validation_tiles, config.tile_voxels, config.seed, whole
    )
    of = f"of {manifest.name}, fold {data.fold} of {data.folds}"
    return TrainingData(
        source,
        tiles,
        f"{len(training)} labelled scans {of}; augmentation {data.augmentation}.",
        f"{len(tiles)} tiles of {len(held_out)} other scans {of}.",
        "For research use; not validated on scans from elsewhere.",
        data.region_mm,
        SeenScans(scans(training), scans(held_out)),
    )


@contextmanager
def _open_phantom(
    config: TrainingConfig, data: PhantomData, folder: Path, say: Callable[[str], None], leads: bool
) -> Iterator[TrainingData]:
    sampling = data.sampling
    recipe = AnatomyRecipe(
        config.seed, data.anatomies, data.anatomy_spacing_mm, data.anatomy_extent_mm, data.truth_spacing_mm
    )
    pool = AnatomyPool(folder, recipe, data.pool_size)
    for number in range(data.validation_anatomies):
        say(f"Validation anatomy {number + 1} of {data.validation_anatomies}")
        pool.grow(VALIDATION, number)
    while len(pool.paths(TRAINING)) < data.at_start:
        say(f"Training anatomy {len(pool.paths(TRAINING)) + 1} of the first {data.at_start}")
        pool.grow(TRAINING, pool.next_number())
    source = PhantomSource(pool, sampling, config.spacing_mm, config.tile_voxels, config.seed)
    # Validation samples look like the training samples, but always show an ear.
    shown = replace(source, sampling=replace(sampling, away_share=0.0, near_share=1.0, cut_share=0.0))
    kinds = ", ".join(name.replace("_", " ") for name in data.anatomies)
    with BackgroundGrowth(pool, data.at_most if leads else 0):
        yield TrainingData(
            source,
            shown.validation(data.validation_samples),
            f"Simulated scans of drawn anatomies ({kinds}), scanners {', '.join(sampling.scanners)}.",
            f"{data.validation_samples} simulated scans of {data.validation_anatomies} other drawn anatomies.",
            "For research use; trained on simulated scans, not validated on patients.",
            # The smallest region that was trained on: less to compute, and no less is seen of the ear.
            max(sampling.region_mm[0], config.tile_voxels * config.spacing_mm),
        )
