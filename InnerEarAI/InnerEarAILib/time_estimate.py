"""How long a run will take, told before it begins: tiles × views × the seconds that a tile was seen to take.

    speeds = {speed.model: speed for speed in (measure_speed(card), measure_speed(locator_card))}
    sentence = f"This will take about {in_words(estimated_seconds(grid, options, card, locator_card, speeds))}."

`measure_speed` is in inference.speed; the speed of an earlier run is in its provenance (`speed_of_run`). A panel asks
at every change of a setting, so that torch is imported by what tries a model alone; a shell asks once, by
`time_sentence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from InnerEarAILib.inference.known_speeds import remember, speeds_of
from InnerEarAILib.inference.speed import Speed
from InnerEarAILib.inference.tiling import locator_blocks, tile_volume
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.model_store import LOCATOR, choose_model, find_card, list_models, load_card
from InnerEarAILib.preprocessing import lattice_grid
from InnerEarAILib.progress import Progress
from InnerEarAILib.scan_checks import check_size, check_spacing
from InnerEarAILib.volume import Grid

if TYPE_CHECKING:
    from InnerEarAILib.segmenter_options import SegmenterOptions

TWO_EARS_MM = 110.0
"""A scan at least this wide from right to left shows both ears: they lie 84 mm apart, and each needs 13 mm round it."""

COARSE_SECONDS_PER_VOXEL = 70e-9
"""Bringing a scan onto the locator's grid, for each voxel that is smoothed; one core of an AMD EPYC 9004."""

CUBIC_SECONDS_PER_VOXEL, OBLIQUE_SECONDS_PER_VOXEL = 0.06e-6, 0.3e-6
"""Resampling and normalising, for each voxel of the model's grid, of a scan along the patient's axes and of an oblique
one; the first on one core of an Intel Xeon of 2.8 GHz, the second on the core above."""

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
    preset = options.resolved(card.views_taught)
    if not preset.locate:
        shape = _whole_grid(grid, card).shape
        tiles = len(tile_volume(shape, card.tile_voxels, card.overlap_voxels).starts_kji)
        segmenting = _segmenting_seconds(tiles * preset.views, shape, speeds[card.name], grid)
        return segmenting + DRAWING_SECONDS_PER_EAR * _ear_count(grid)
    if locator_card is None:
        raise ValueError("these options look for the ears, so that the locator's card is needed")
    edge = card.region_voxels
    tiles = len(tile_volume((edge,) * 3, card.tile_voxels, card.overlap_voxels).starts_kji)
    # One view finds the middle of an ear, all views look at it from there.
    looking = _segmenting_seconds(tiles, (edge,) * 3, speeds[card.name], grid)
    drawing = _segmenting_seconds(tiles * preset.views, (edge,) * 3, speeds[card.name], grid)
    ear = looking + drawing + DRAWING_SECONDS_PER_EAR
    return _locating_seconds(grid, locator_card, speeds[locator_card.name]) + _ear_count(grid) * ear


def time_sentence(grid: Grid, options: SegmenterOptions, progress: Progress = Progress()) -> str:
    """The sentence for a shell: how long the run will take, by speeds that are known or tried now.

    Args:
        grid: of the scan.
        options: of the run.
        progress: told of a trial.

    Raises:
        InputError, ModelError, DeviceError: as the run would.
    """
    from InnerEarAILib.inference.device import choose_device

    check_size(grid.shape)
    check_spacing(grid.spacing_mm)
    device = choose_device(options.device)
    if options.model == "auto":
        card = choose_model(float(grid.spacing_mm.min()), device, list_models())
    else:
        card = find_card(options.model)
    locator_card = load_card(LOCATOR) if options.resolved().locate else None
    needed = [card] if locator_card is None else [card, locator_card]
    speeds = speeds_of(needed, str(device), progress)
    return f"This will take about {in_words(estimated_seconds(grid, options, card, locator_card, speeds))}."


def learn(provenance: Mapping[str, Any]) -> None:
    """Keeps the speed that a run has shown, for the estimates of later ones."""
    speed = speed_of_run(provenance)
    if speed is None:
        return
    card = load_card(speed.model)
    # A model in a folder of its own may have the name of an installed one.
    if provenance.get("model.sha256", card.weights_sha256) == card.weights_sha256:
        remember(speed, card)


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


def _segmenting_seconds(passes: int, shape: tuple[int, int, int], speed: Speed, scan: Grid) -> float:
    straight = np.allclose(np.abs(scan.directions).max(0), 1)
    of_voxel = CUBIC_SECONDS_PER_VOXEL if straight else OBLIQUE_SECONDS_PER_VOXEL
    return passes * speed.seconds_per_tile + of_voxel * _voxels(shape)


def _whole_grid(grid: Grid, card: ModelCard) -> Grid:
    corners = grid.corners_lps()
    return lattice_grid(corners.min(0), corners.max(0), card.spacing_mm, card.tile_voxels)


def _ear_count(grid: Grid) -> int:
    corners = grid.corners_lps()
    return 2 if float(corners[:, 0].max() - corners[:, 0].min()) >= TWO_EARS_MM else 1


def _voxels(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]
