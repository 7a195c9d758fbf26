"""What goes wrong in a CT image: rings, cupping, dark bars between dense bones, streaks from metal, motion."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from InnerEarAILib.phantom.scanner import Artefacts
from InnerEarAILib.volume import Grid

BONE_HOUNSFIELD, DENSE_HOUNSFIELD = 300.0, 1900.0
"""CT numbers where bone begins to harden the beam, and of a row that counts as dense throughout."""

STREAK_THRESHOLD_HOUNSFIELD, STREAK_DIRECTIONS = 2800.0, 24
"""CT numbers that only metal has, and the number of streaks that it throws."""

STREAK_SHARE = 0.12
"""Height of a streak beside a voxel of metal, as a share of the metal's excess; ours, by eye."""

RING_SPACING_MM = 0.4
"""Width of a ring."""


def add_artefacts(image: Tensor, artefacts: Artefacts, grid: Grid, generator: torch.Generator) -> Tensor:
    """The image with its artefacts, HU.

    Args:
        image: (k, j, i) float32 HU.
        artefacts: which, and how strong.
        grid: grid of the image; slices are its planes of constant k.
        generator: source of randomness, on the image's device.
    """
    if artefacts.motion_mm and artefacts.motion_share:
        image = _moved(image, artefacts, grid, generator)
    if artefacts.metal_streaks:
        image = image + artefacts.metal_streaks * _streaks(image, generator)
    if artefacts.bar_hounsfield:
        image = image - artefacts.bar_hounsfield * _row_density(image)
    if artefacts.cupping_hounsfield or artefacts.ring_hounsfield:
        radius, half_width = _radius(image, grid, generator, centred=artefacts.ring_hounsfield == 0)
        if artefacts.cupping_hounsfield:
            image = image - artefacts.cupping_hounsfield * (1 - (radius / half_width) ** 2).clamp(min=0)
        if artefacts.ring_hounsfield:
            image = image + artefacts.ring_hounsfield * _rings(radius, image.shape[0], generator)
    return image


def noise_scale(image: Tensor, artefacts: Artefacts) -> Tensor | float:
    """Factor of the noise's standard deviation: rows full of bone let fewer photons through; (k, j, 1) or 1."""
    if not artefacts.starvation:
        return 1.0
    return 1 + artefacts.starvation * _row_density(image)


def _row_density(image: Tensor) -> Tensor:
    """Share of dense bone along each row of i, smoothed over neighbouring rows, (k, j, 1), 0 to 1."""
    bone = ((image - BONE_HOUNSFIELD) / (DENSE_HOUNSFIELD - BONE_HOUNSFIELD)).clamp(0, 1).mean(2, keepdim=True)
    smoothed = F.avg_pool1d(bone.transpose(1, 2), 5, stride=1, padding=2, count_include_pad=False)
    return smoothed.transpose(1, 2)


def _streaks(image: Tensor, generator: torch.Generator) -> Tensor:
    """Bright and dark rays in the slice from everything that only metal can be, (k, j, i) HU.

    The metal's excess is convolved with a star whose rays have random signs and fade with the distance.
    """
    metal = (image - STREAK_THRESHOLD_HOUNSFIELD).clamp(0, 6000)
    streaks = torch.zeros_like(image)
    slices = metal.amax((1, 2)).nonzero()[:, 0]
    if not len(slices):
        return streaks
    rows, columns = image.shape[1:]
    j = torch.fft.fftfreq(2 * rows, 1 / (2 * rows), device=image.device)[:, None]
    i = torch.fft.fftfreq(2 * columns, 1 / (2 * columns), device=image.device)[None]
    signs = torch.randn(STREAK_DIRECTIONS, generator=generator, device=image.device)
    turn = (torch.atan2(j, i) / math.pi + 1) / 2 * STREAK_DIRECTIONS
    first = turn.long() % STREAK_DIRECTIONS
    rays = torch.lerp(signs[first], signs[(first + 1) % STREAK_DIRECTIONS], turn - turn.floor())
    star = (rays - signs.mean()) / torch.hypot(j, i).clamp(min=1)
    spectrum = torch.fft.rfft2(metal[slices], s=star.shape) * torch.fft.rfft2(star)
    streaks[slices] = torch.fft.irfft2(spectrum, s=star.shape)[:, :rows, :columns]
    return STREAK_SHARE * streaks


def _moved(image: Tensor, artefacts: Artefacts, grid: Grid, generator: torch.Generator) -> Tensor:
    direction = torch.randn(3, generator=generator, device=image.device)
    shift_mm = artefacts.motion_mm * direction / direction.norm()
    spacing = torch.as_tensor(grid.spacing_mm, dtype=torch.float32, device=image.device)
    ghost = image
    for axis, voxels in zip((2, 1, 0), (shift_mm / spacing).tolist(), strict=True):
        whole = math.floor(voxels)
        ghost = torch.lerp(_shifted(ghost, whole, axis), _shifted(ghost, whole + 1, axis), voxels - whole)
    return (1 - artefacts.motion_share) * image + artefacts.motion_share * ghost


def _shifted(image: Tensor, voxels: int, axis: int) -> Tensor:
    """The image moved by whole voxels; what comes in is what stood at the end."""
    count = image.shape[axis]
    return image.index_select(axis, (torch.arange(count, device=image.device) - voxels).clamp(0, count - 1))


def _radius(image: Tensor, grid: Grid, generator: torch.Generator, centred: bool) -> tuple[Tensor, float]:
    """Distance of each voxel of a slice from the rotation axis, (j, i) mm, and half the slice's width, mm."""
    rows, columns = image.shape[1:]
    width, height = columns * float(grid.spacing_mm[0]), rows * float(grid.spacing_mm[1])
    away = torch.zeros(2, device=image.device)
    if not centred:
        away = torch.randn(2, generator=generator, device=image.device)
    along_j = (torch.arange(rows, device=image.device) - (rows - 1) / 2) * float(grid.spacing_mm[1])
    along_i = (torch.arange(columns, device=image.device) - (columns - 1) / 2) * float(grid.spacing_mm[0])
    return torch.hypot((along_j - away[0] * height)[:, None], (along_i - away[1] * width)[None]), max(width, height) / 2


def _rings(radius: Tensor, slices: int, generator: torch.Generator) -> Tensor:
    """Unit-variance rings, (k, j, i): the same detector row errs over many slices, each detector element for itself."""
    count = int(radius.max() / RING_SPACING_MM) + 2
    errors = torch.randn((max(2, slices // 16), count), generator=generator, device=radius.device)
    errors = errors * (torch.rand(errors.shape, generator=generator, device=radius.device) < 0.3) / 0.3**0.5
    drifting = F.interpolate(errors[None, None], size=(slices, count), mode="bilinear", align_corners=True)[0, 0]
    place = radius / RING_SPACING_MM
    low = place.long()
    part = place - low
    return drifting[:, low] * (1 - part) + drifting[:, low + 1] * part
