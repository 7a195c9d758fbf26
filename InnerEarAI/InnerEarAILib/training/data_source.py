"""Opens the samples that a configuration's [data] table describes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from InnerEarAILib.training.configuration import TrainingConfig, dataclass_of
from InnerEarAILib.training.phantom_dataset import PhantomSampling, PhantomSource
from InnerEarAILib.training.phantom_pool import TRAINING, VALIDATION, AnatomyPool, AnatomyRecipe, BackgroundGrowth
from InnerEarAILib.training.samples import SampleSource, TrainingSample


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
    """

    source: SampleSource
    validation: list[TrainingSample]
    trained_on: str
    validated_on: str
    limits: str
    region_mm: float


@dataclass(frozen=True)
class PhantomData:
    """The [data] table of kind "phantom".

    Attributes:
        anatomies: kinds of anatomies and their shares; see AnatomyRecipe.
        anatomy_spacing_mm, anatomy_extent_mm: see AnatomyRecipe.
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
    pool_size: int = 150
    at_start: int = 12
    at_most: int = 150
    validation_anatomies: int = 6
    validation_samples: int = 16


@contextmanager
def open_data(
    config: TrainingConfig, anatomy_folder: Path, say: Callable[[str], None] = print
) -> Iterator[TrainingData]:
    """The samples of a configuration, for as long as the context lasts.

    Args:
        config: the run.
        anatomy_folder: where the phantom's drawn anatomies are kept.
        say: told of what takes long.

    Raises:
        ValueError: if the [data] table is not understood.
    """
    table = dict(config.data)
    kind = table.pop("kind", None)
    if kind != "phantom":
        raise ValueError(f'[data] has the kind {kind!r}; known is "phantom"')
    sampling = dataclass_of(PhantomSampling, table.pop("sampling", {}), "[data.sampling]")
    data = dataclass_of(PhantomData, {**table, "sampling": sampling}, "[data]")
    recipe = AnatomyRecipe(config.seed, data.anatomies, data.anatomy_spacing_mm, data.anatomy_extent_mm)
    pool = AnatomyPool(anatomy_folder, recipe, data.pool_size)
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
    with BackgroundGrowth(pool, data.at_most):
        yield TrainingData(
            source,
            shown.validation(data.validation_samples),
            f"Simulated scans of drawn anatomies ({kinds}), scanners {', '.join(sampling.scanners)}.",
            f"{data.validation_samples} simulated scans of {data.validation_anatomies} other drawn anatomies.",
            "For research use; trained on simulated scans, not validated on patients.",
            max(*sampling.region_mm, config.tile_voxels * config.spacing_mm),
        )
