"""What the [data] table of a configuration says: labelled scans, or the phantom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from InnerEarAILib.training.augmentation import AUGMENTATIONS
from InnerEarAILib.training.checked_fields import (
    check_at_least,
    check_positive,
    check_shares,
    check_types,
    check_weights,
    dataclass_of,
)
from InnerEarAILib.training.phantom_dataset import PhantomSampling
from InnerEarAILib.training.phantom_pool import ANATOMY_KINDS
from InnerEarAILib.training.splits import Split

MOST_HELD_OUT = 5
"""Cases that a redraw holds out, of 43, in Stebani et al. 2023."""

CASES_FOR_ONE_HELD_OUT = 8
"""Of smaller sets about one case in so many is held out; ours."""


@dataclass(frozen=True)
class PhantomData:
    """The [data] table of kind "phantom".

    Attributes:
        anatomies: kinds of anatomies and their shares; see AnatomyRecipe.
        anatomy_spacing_mm, anatomy_extent_mm, truth_spacing_mm: see AnatomyRecipe.
        pool_size: anatomies kept on disk.
        at_start: anatomies drawn before training begins.
        at_most: anatomies drawn in all; fewer than at_start: none are drawn while it trains.
        validation_anatomies: further anatomies that are validated on.
        validation_samples: samples taken of them.
        sampling: how samples are taken of an anatomy; see PhantomSampling.

    Raises:
        ValueError: if a value is not of its type or out of its range.
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

    def __post_init__(self) -> None:
        check_types(self)
        check_weights(self, "anatomies", ANATOMY_KINDS)
        check_positive(self, "anatomy_spacing_mm", "anatomy_extent_mm")
        if self.truth_spacing_mm is not None:
            check_positive(self, "truth_spacing_mm")
        check_at_least(1, self, "at_start", "validation_anatomies", "validation_samples")
        check_at_least(0, self, "at_most")
        # A smaller pool would lose anatomies as fast as the first are drawn.
        check_at_least(self.at_start, self, "pool_size")


@dataclass(frozen=True)
class ManifestData:
    """The [data] table of kind "manifest".

    Attributes:
        manifest: the manifest, or a folder of HDF5 files; see manifest.read_manifest. Empty: it is named later. In a
            configuration file: as seen from the file, or from the current folder where nothing lies there.
        fold: which random split is trained, 1 to `folds`.
        folds: how many there are; three in Stebani et al. 2023, four in Hussain et al. 2021.
        split: "redraw": each fold draws its held-out cases anew (Stebani et al.); "partition": each holds out another
            of `folds` parts, so that every case is held out once (Hussain et al.). See splits.
        validation_cases: cases that a redraw holds out; None: see `held_out_of`.
        augmentation: "none", "alpha" or "beta"; see augmentation.AUGMENTATIONS.
        labyrinth_share: share of tiles that show the labyrinth for certain; ours.
        validation_tiles: fixed tiles of each held-out case.
        region_mm: edge of the cube round the labyrinth that is kept and normalised together; as inference does.
        tiles: "random" places, or the "whole" labyrinth in the middle of every tile.

    Raises:
        ValueError: if a value is not of its type or out of its range.
    """

    manifest: str = ""
    fold: int = 1
    folds: int = 3
    split: Split = "redraw"
    validation_cases: int | None = None
    augmentation: str = "beta"
    labyrinth_share: float = 0.7
    validation_tiles: int = 8
    region_mm: float = 40.0
    tiles: Literal["random", "whole"] = "random"

    def __post_init__(self) -> None:
        check_types(self)
        if self.augmentation not in AUGMENTATIONS:
            raise ValueError(f"unknown augmentation {self.augmentation!r}; there are {', '.join(AUGMENTATIONS)}")
        if not 1 <= self.fold <= self.folds:
            raise ValueError(f"fold must be 1 to {self.folds}, got {self.fold}")
        if self.validation_cases is not None:
            check_at_least(1, self, "validation_cases")
        check_at_least(1, self, "validation_tiles")
        check_shares(self, "labyrinth_share")
        check_positive(self, "region_mm")

    def held_out_of(self, cases: int) -> int:
        """How many of so many cases a redraw holds out: five of the paper's 43, an eighth of fewer, at least one."""
        if self.validation_cases is not None:
            return self.validation_cases
        return min(max(round(cases / CASES_FOR_ONE_HELD_OUT), 1), MOST_HELD_OUT)


def data_settings(table: Mapping[str, Any]) -> ManifestData | PhantomData:
    """What a [data] table says.

    Raises:
        ValueError: if it is not understood.
    """
    table = dict(table)
    kind = table.pop("kind", None)
    if kind == "manifest":
        return dataclass_of(ManifestData, table, "[data]")
    if kind == "phantom":
        sampling = table.pop("sampling", {})
        if not isinstance(sampling, dict):
            raise ValueError("[data.sampling] must be a table")
        sampling = dataclass_of(PhantomSampling, sampling, "[data.sampling]")
        return dataclass_of(PhantomData, {**table, "sampling": sampling}, "[data]")
    raise ValueError(f'[data] has the kind {kind!r}; known are "phantom" and "manifest"')
