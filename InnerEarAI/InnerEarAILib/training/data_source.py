"""Opens the samples that a configuration's [data] table describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from InnerEarAILib.training.augmentation import AUGMENTATIONS
from InnerEarAILib.training.configuration import TrainingConfig
from InnerEarAILib.training.data_settings import ManifestData, PhantomData, data_settings
from InnerEarAILib.training.manifest import Manifest, check_cases, read_manifest
from InnerEarAILib.training.manifest_dataset import (
    ManifestSource,
    is_prepared,
    load_case,
    prepare_case,
    prepared_labels_sha256,
    prepared_sha256,
    validation_tiles,
)
from InnerEarAILib.training.phantom_dataset import PhantomSource
from InnerEarAILib.training.phantom_pool import TRAINING, VALIDATION, AnatomyPool, AnatomyRecipe, BackgroundGrowth
from InnerEarAILib.training.run_folder import make_folder
from InnerEarAILib.training.samples import SampleSource, TrainingSample
from InnerEarAILib.training.seen_scans import ScanList, SeenScans
from InnerEarAILib.training.splits import on_both_sides, partition, redraw
from InnerEarAILib.volume import InputError


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
        labelled: prepared_labels_sha256 of each.
    """

    source: SampleSource
    validation: list[TrainingSample]
    trained_on: str
    validated_on: str
    limits: str
    region_mm: float
    seen: SeenScans = field(default_factory=SeenScans)
    labelled: frozenset[str] = frozenset()


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
        InputError: if one scan would be trained on and held out, or the folder cannot be written to.
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
    return data_settings(config.data)


def split_of(config: TrainingConfig, data: ManifestData, manifest: Manifest) -> tuple[list[int], list[int]]:
    """Numbers of the cases of a data set that a configuration trains on, and of those that it holds out.

    Raises:
        ValueError: if there are too few cases or patients for it.
    """
    patients = [case.one_patient for case in manifest.cases]
    if data.split == "partition":
        return partition(patients, data.fold, data.folds, config.seed)
    return redraw(patients, data.fold, data.held_out_of(len(patients)), config.seed)


def _open_manifest(
    config: TrainingConfig, data: ManifestData, folder: Path, say: Callable[[str], None]
) -> TrainingData:
    if not data.manifest:
        raise ValueError("This configuration is for labelled scans: name them with --data.")
    manifest = read_manifest(Path(data.manifest))
    folders = [folder / f"{number:04d}" for number in range(len(manifest.cases))]
    grid = config.spacing_mm, data.region_mm
    training, held_out = split_of(config, data, manifest)
    say(f"Training on {len(training)} scans, holding out {len(held_out)} of {len(manifest.cases)}.")
    new = [number for number, case in enumerate(manifest.cases) if not is_prepared(case, folders[number], *grid)]
    if new:
        make_folder(folder)
        load_case.cache_clear()  # a file that is mapped into memory must not be written anew
        say(f"Checking {len(new)} scans of {manifest.name}")
        check_cases((manifest.cases[number] for number in new), config.spacing_mm)
    for done, number in enumerate(new, start=1):
        say(f"Preparing scan {done} of {len(new)}")
        prepare_case(manifest.cases[number], folders[number], *grid)
    _check_sides(manifest, folders, training, held_out)
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
        frozenset(prepared_labels_sha256(folders[number]) for number in (*training, *held_out)),
    )


def _check_sides(manifest: Manifest, folders: Sequence[Path], training: Sequence[int], held_out: Sequence[int]) -> None:
    """Refuses a split with one scan, under several names, on both of its sides.

    Raises:
        InputError: that names the cases.
    """
    same = on_both_sides([prepared_sha256(folder) for folder in folders], training, held_out)
    if same:
        named = "; ".join(" and ".join(manifest.cases[number].name for number in group) for group in same)
        raise InputError(
            f"The same scan would be trained on and held out: {named}. Give cases of one scan the same patient in the "
            "manifest, or leave out the copy."
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
    pool.open()
    for number in range(data.validation_anatomies):
        say(f"Validation anatomy {number + 1} of {data.validation_anatomies}")
        pool.grow(VALIDATION, number)
    while len(pool.paths(TRAINING)) < data.at_start:
        say(f"Training anatomy {len(pool.paths(TRAINING)) + 1} of the first {data.at_start}")
        pool.grow(TRAINING, pool.next_number())
    source = PhantomSource(pool, sampling, config.spacing_mm, config.tile_voxels, config.seed)
    # Validation samples look like the training samples, but always show an ear that the anatomy has.
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
