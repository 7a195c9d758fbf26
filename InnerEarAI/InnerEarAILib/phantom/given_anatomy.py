"""The anatomy of a given label map: any segmented temporal bone becomes something that can be scanned.

A label map is a staircase. Here every tissue's occupancy is smoothed and interpolated, and a point belongs to the
tissue whose occupancy is highest there, so that walls are smooth surfaces below the voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from InnerEarAILib.ear_result import Side
from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.anatomy import NO_PART, PhantomEar, Rendering
from InnerEarAILib.phantom.lattice import interpolate
from InnerEarAILib.volume import InputError, Volume

TissueKind = Literal["air", "bone", "fluid", "soft tissue"]
TISSUE_KINDS: tuple[TissueKind, ...] = get_args(TissueKind)

SMOOTHING_VOXELS = 0.7
"""Standard deviation of the smoothing that turns the staircase of a label map into a surface; ours."""

FLUID_HOUNSFIELD = 20.0
"""CT number of perilymph."""

MERGED_HOUNSFIELD = 120.0
"""Labels of one kind of tissue within this range of CT numbers share one occupancy lattice; ours."""

CAPSULE_HOUNSFIELD, CAPSULE_SD, CAPSULE_THICKNESS_MM = 2060.0, 110.0, 1.4
"""Otic capsule, the densest bone of the skull: 1.82 mm thick at the oval window; scanned it has a median of 1857 HU."""

LABEL_MAP_FADE_MM, LABYRINTH_FADE_MM = 1.0, 1.2
"""Width in which the capsule fades into the bone round it: of a temporal bone's label map, and of a labyrinth alone."""

BONE_SD, TEXTURE_GRAIN_MM = 170.0, 0.45
"""Texture of the other bone: standard deviation and grain; ours, by eye against clinical CT."""

POINTS_AT_ONCE = 1_000_000
"""Points that a label map is sampled at in one piece; each takes a few numbers a tissue."""

PLAUSIBLE_LABYRINTH_MM3 = (60.0, 500.0)
"""Volumes beyond this are no human labyrinth: 140 to 265 mm³ in 71 ears, with room for malformed ones."""

LANDMARK_MARGIN_MM = 3.0
"""A landmark farther than this from the labyrinth is in another place or another coordinate system."""


@dataclass(frozen=True)
class GivenTissue:
    """What a label stands for: its CT number in HU and its kind."""

    hounsfield: float
    kind: TissueKind


@dataclass(frozen=True)
class LabelMapAnatomy:
    """A label map, ready to be scanned; made by `anatomy_from_label_map`.

    Attributes:
        ears: the one labyrinth, as a right ear.
        occupancy: (tissues, k, j, i) uint8, smoothed share of each tissue, 0 to 255; the first is the labyrinth.
        hounsfield: (tissues,) CT numbers.
        is_bone: (tissues,) bool, tissues that carry texture and the capsule.
        capsule: (k, j, i) uint8, 255 in the otic capsule, fading to 0.
        part: (k, j, i) uint8, part of each voxel; NO_PART where the map does not tell.
        texture: (1, k, j, i) float32 unit noise on its own coarser lattice over the same box.
        to_indices: (4, 4), maps the anatomy's frame to indices (i, j, k).
        smoothing_mm: standard deviation of the smoothing in millimetres.
    """

    ears: tuple[PhantomEar, ...]
    occupancy: Tensor
    hounsfield: Tensor
    is_bone: Tensor
    capsule: Tensor
    part: Tensor
    texture: Tensor
    to_indices: np.ndarray
    smoothing_mm: float

    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the label map; see Anatomy.render."""
        pieces = [self._render_piece(piece, edge_mm) for piece in points.split(POINTS_AT_ONCE)]
        return Rendering(*(torch.cat(fields) for fields in zip(*pieces, strict=True)))

    def _render_piece(self, points: Tensor, edge_mm: float) -> tuple[Tensor, Tensor, Tensor]:
        matrix = torch.as_tensor(self.to_indices, dtype=torch.float32, device=points.device)
        indices = points @ matrix[:3, :3].T + matrix[:3, 3]
        device = points.device
        occupancy = interpolate(self.occupancy.to(device), indices) / 255
        # A wall between two tissues has the slope 1 / (sqrt(2π) · smoothing) in occupancy; the box average of a sharp
        # wall has the slope 1 / edge. The logistic curve below turns the one into the other.
        sharpness = 2 * np.sqrt(2 * np.pi) * self.smoothing_mm / edge_mm
        shares = torch.softmax(sharpness * occupancy, 0)
        # Tissues that are nowhere near must not leak through the tails of the softmax.
        shares = shares * (occupancy > 0.02)
        shares = shares / shares.sum(0)
        capsule = interpolate(self.capsule.to(device)[None], indices)[0] / 255
        texture_scale = torch.tensor(
            [t / n for t, n in zip(self.texture.shape[:0:-1], self.occupancy.shape[:0:-1], strict=True)], device=device
        )
        texture = interpolate(self.texture.to(device), (indices + 0.5) * texture_scale - 0.5)[0]
        is_bone = self.is_bone.to(device)
        tissue_hounsfield = self.hounsfield.to(device)
        bone_share = shares[is_bone].sum(0)
        plain = (shares * tissue_hounsfield[:, None]).sum(0)
        bone_hounsfield = (shares[is_bone] * tissue_hounsfield[is_bone][:, None]).sum(0)
        dense = capsule * (bone_share * CAPSULE_HOUNSFIELD - bone_hounsfield).clamp(min=0)
        grain = bone_share * texture * (BONE_SD + capsule * (CAPSULE_SD - BONE_SD))
        limits = torch.tensor(self.part.shape[::-1], device=device) - 1
        nearest = torch.minimum(indices.round().long().clamp(min=0), limits)
        part = self.part.to(device)[nearest[:, 2], nearest[:, 1], nearest[:, 0]]
        return plain + dense + grain, shares[0], part


def anatomy_from_label_map(
    labels: Volume,
    tissues: Mapping[int, GivenTissue],
    labyrinth: Mapping[int, int],
    landmarks_lps: Mapping[str, np.ndarray],
    side: Side,
    rng: np.random.Generator,
) -> LabelMapAnatomy:
    """The anatomy of a temporal bone's label map.

    Args:
        labels: integer labels; voxels at most 0.7 mm.
        tissues: what each label of the map stands for.
        labyrinth: labels of the labyrinth and the part that each is (COCHLEA, VESTIBULE, CANALS, or NO_PART where one
            label holds all of them).
        landmarks_lps: (3,) LPS mm by name of landmarks.LANDMARK_NAMES; may be empty.
        side: side of the ear.
        rng: source of the bone's texture.

    Raises:
        InputError: if a label is not described, the labyrinth is missing or of an impossible size, or a landmark lies
            far from it.
    """
    voxels = labels.voxels
    present = np.unique(voxels).tolist()
    if undescribed := [label for label in present if label not in tissues and label not in labyrinth]:
        raise InputError(
            f"The label map holds the labels {undescribed} without a tissue; "
            "give every label its CT number and kind of tissue."
        )
    is_labyrinth = np.isin(voxels, list(labyrinth))
    if not is_labyrinth.any():
        raise InputError(
            f"The label map has no labyrinth: none of the labels {sorted(labyrinth)} occurs in it; "
            f"it holds {present}. Name the labels of the labyrinth."
        )
    spacing = float(labels.spacing_mm.max())
    check_volume(is_labyrinth.sum() * float(labels.spacing_mm.prod()))
    check_landmarks(landmarks_lps, labels.grid.to_lps(np.argwhere(is_labyrinth)[:, ::-1]))
    groups = _tissue_groups({label: tissues[label] for label in present if label not in labyrinth})
    fluid = next((tissues[label].hounsfield for label in labyrinth if label in tissues), FLUID_HOUNSFIELD)
    occupancy = [_smooth(is_labyrinth)] + [_smooth(np.isin(voxels, members)) for members, _ in groups]
    part = np.full(voxels.shape, NO_PART, np.uint8)
    for label, value in labyrinth.items():
        part[voxels == label] = value
    distance = ndimage.distance_transform_edt(~is_labyrinth, sampling=labels.spacing_mm[::-1]).astype(np.float32)
    capsule = np.clip((CAPSULE_THICKNESS_MM + LABEL_MAP_FADE_MM - distance) / LABEL_MAP_FADE_MM, 0, 1)
    to_lps = frame_to_lps(labels.grid.to_lps(np.argwhere(is_labyrinth).mean(0)[::-1]), side)
    return LabelMapAnatomy(
        ears=(right_ear(landmarks_lps, to_lps),),
        occupancy=torch.from_numpy(np.stack(occupancy)),
        hounsfield=torch.tensor([fluid] + [tissue.hounsfield for _, tissue in groups]),
        is_bone=torch.tensor([False] + [tissue.kind == "bone" for _, tissue in groups]),
        capsule=torch.from_numpy((255 * capsule).astype(np.uint8)),
        part=torch.from_numpy(part),
        texture=_unit_texture(voxels.shape, labels.spacing_mm, rng),
        to_indices=np.linalg.inv(labels.affine_lps) @ to_lps,
        smoothing_mm=SMOOTHING_VOXELS * spacing,
    )


def frame_to_lps(centre_lps: np.ndarray, side: Side) -> np.ndarray:
    """(4, 4) map from an anatomy's frame (a right ear round the origin) to the LPS place of a given ear of `side`."""
    affine = np.diag([-1.0 if side == "left" else 1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = centre_lps
    return affine


def right_ear(landmarks_lps: Mapping[str, np.ndarray], to_lps: np.ndarray) -> PhantomEar:
    """The given ear in the anatomy's frame, landmarks moved there."""
    inverse = np.linalg.inv(to_lps)
    moved = {n: inverse[:3, :3] @ np.asarray(p, float) + inverse[:3, 3] for n, p in landmarks_lps.items()}
    return PhantomEar("right", moved, {})


def check_landmarks(landmarks_lps: Mapping[str, np.ndarray], labyrinth_points: np.ndarray) -> None:
    """Refuses landmarks of unknown name or far from the labyrinth's points, (n, 3) LPS mm.

    Raises:
        InputError: with the landmark's name and its distance.
    """
    for name, position in landmarks_lps.items():
        if name not in LANDMARK_NAMES:
            raise InputError(f"'{name}' is none of the landmarks {', '.join(LANDMARK_NAMES)}; rename it in the file.")
        distance = float(np.linalg.norm(labyrinth_points - position, axis=1).min())
        if not distance <= LANDMARK_MARGIN_MM:
            raise InputError(
                f"The landmark '{name}' lies {distance:.1f} mm from the labyrinth; both must be in the same LPS "
                "millimetres (a file in RAS has x and y reversed)."
            )


def check_volume(volume_mm3: float) -> None:
    """Refuses what cannot be a human labyrinth.

    Raises:
        InputError: with the volume and the plausible range.
    """
    low, high = PLAUSIBLE_LABYRINTH_MM3
    if not low <= volume_mm3 <= high:
        raise InputError(
            f"The labyrinth has a volume of {volume_mm3:.3g} mm³; a human one has {low:.0f} to {high:.0f} mm³. "
            "Check the unit (millimetres) and that all of the labyrinth is there."
        )


def _tissue_groups(tissues: Mapping[int, GivenTissue]) -> list[tuple[list[int], GivenTissue]]:
    groups: list[tuple[list[int], GivenTissue]] = []
    for label, tissue in sorted(tissues.items(), key=lambda item: (item[1].kind, item[1].hounsfield)):
        if (
            groups
            and tissue.kind == groups[-1][1].kind
            and (tissue.hounsfield - groups[-1][1].hounsfield <= MERGED_HOUNSFIELD)
        ):
            groups[-1][0].append(label)
        else:
            groups.append(([label], tissue))
    return groups


def _smooth(mask: np.ndarray) -> np.ndarray:
    smoothed = ndimage.gaussian_filter(mask.astype(np.float32), SMOOTHING_VOXELS, truncate=3)
    return np.round(255 * smoothed).astype(np.uint8)


def _unit_texture(shape: tuple[int, int, int], spacing_mm: Sequence[float], rng: np.random.Generator) -> Tensor:
    counts = [max(2, round(n * s / TEXTURE_GRAIN_MM)) for n, s in zip(shape, spacing_mm[::-1], strict=True)]
    noise = rng.standard_normal(counts, dtype=np.float32)
    smoothed = F.avg_pool3d(torch.from_numpy(noise)[None, None], 3, stride=1, padding=1, count_include_pad=False)[0]
    return smoothed / smoothed.std()
