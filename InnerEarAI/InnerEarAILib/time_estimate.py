"""How long a run will take, told before it begins: tiles × views × the seconds that a tile was seen to take.

    speeds = {speed.model: speed for speed in (calibrate(card, "cpu"), calibrate(locator_card, "cpu"))}
    sentence = f"This will take about {in_words(estimated_seconds(grid, options, card, locator_card, speeds))}."

`calibrate` is in inference.calibration; the speed of an earlier run is in its provenance (`speed_of_run`). Nothing here
needs torch, so that a panel can ask at every change of a setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from InnerEarAILib.inference.calibration import Speed
from InnerEarAILib.inference.tiling import locator_blocks, tile_volume
from InnerEarAILib.model_store import ModelCard
from InnerEarAILib.preprocessing import lattice_grid
from InnerEarAILib.volume import Grid

if TYPE_CHECKING:
    from InnerEarAILib.segmenter_options import SegmenterOptions

TWO_EARS_MM = 110.0
"""A scan at least this wide from right to left shows both ears: they lie 84 mm apart, and each needs 13 mm round it."""

COARSE_SECONDS_PER_VOXEL = 70e-9
"""Bringing a scan onto the locator's grid, for each voxel that is smoothed; one core of an AMD EPYC 9004."""

CUBIC_SECONDS_PER_VOXEL = 0.3e-6
"""Resampling and normalising, for each voxel of the model's grid; the same core."""

DRAWING_SECONDS_PER_EAR = 0.5
"""Mask, landmarks and quality of an ear; the same core."""


def speed_of_run(provenance: Mapping[str, Any]) -> Speed | None:
    """The speed of the model in a run that is over, from its result's provenance; None where it does not say."""
    try:
        passes = provenance["execution.tiles"] * provenance["execution.views"]
        return Speed(
            provenance["model"],
            provenance["execution.device"],
            provenance["execution.precision"],
            provenance["execution.seconds"] / passes,
        )
    except (KeyError, TypeError, ZeroDivisionError):
        return None


def estimated_seconds(
    grid: Grid,
    options: SegmenterOptions,
    card: ModelCard,
    locator_card: ModelCard | None,
    speeds: Mapping[str, Speed],
) -> float:
    """Seconds from the scan in memory to the ears; without starting Python and torch.

    Args:
        grid: of the scan.
        options: whose preset, views and way of locating count.
        card: of the model that segments.
        locator_card: of the locator; not asked for where the options do without it.
        speeds: by name of the model.

    Raises:
        KeyError: if the speed of a model that will be used is not among them.
        InputError: if an option is not one of its choices.
        ValueError: if the options want a locator and there is no card of it.
    """
    preset = options.resolved()
    if not preset.locate:
        shape = _whole_grid(grid, card).shape
        tiles = len(tile_volume(shape, card.tile_voxels, card.overlap_voxels).starts_kji)
        return _segmenting_seconds(tiles * preset.views, shape, speeds[card.name]) + DRAWING_SECONDS_PER_EAR * (
            _ear_count(grid)
        )
    if locator_card is None:
        raise ValueError("these options look for the ears, so that the locator's card is needed")
    edge = max(card.tile_voxels, round(card.region_mm / card.spacing_mm))
    tiles = len(tile_volume((edge,) * 3, card.tile_voxels, card.overlap_voxels).starts_kji)
    # One view finds the middle of an ear, all views look at it from there.
    looking = _segmenting_seconds(tiles, (edge,) * 3, speeds[card.name])
    ear = looking + _segmenting_seconds(tiles * preset.views, (edge,) * 3, speeds[card.name]) + DRAWING_SECONDS_PER_EAR
    return _locating_seconds(grid, locator_card, speeds[locator_card.name]) + _ear_count(grid) * ear


def in_words(seconds: float) -> str:
    """A duration as a person says it: "10 seconds", "3 minutes", "2 hours"; never less than five seconds."""
    if seconds < 57.5:
        return f"{max(5, 5 * round(seconds / 5))} seconds"
    if seconds < 3570:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    hours = round(seconds / 3600, 1)
    return f"{hours:g} hour{'s' if hours != 1 else ''}"


def _locating_seconds(grid: Grid, locator_card: ModelCard, speed: Speed) -> float:
    shape = _whole_grid(grid, locator_card).shape
    blocks = locator_blocks(shape, locator_card.tile_voxels, locator_card.spacing_mm)
    # A finer scan is averaged to half the locator's voxels first.
    smoothed = min(_voxels(grid.shape), 8 * _voxels(shape))
    return len(blocks) * speed.seconds_per_tile + COARSE_SECONDS_PER_VOXEL * smoothed


def _segmenting_seconds(passes: int, shape: tuple[int, int, int], speed: Speed) -> float:
    return passes * speed.seconds_per_tile + CUBIC_SECONDS_PER_VOXEL * _voxels(shape)


def _whole_grid(grid: Grid, card: ModelCard) -> Grid:
    corners = grid.corners_lps()
    return lattice_grid(corners.min(0), corners.max(0), card.spacing_mm, card.tile_voxels)


def _ear_count(grid: Grid) -> int:
    corners = grid.corners_lps()
    return 2 if float(corners[:, 0].max() - corners[:, 0].min()) >= TWO_EARS_MM else 1


def _voxels(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
