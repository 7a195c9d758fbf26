"""An anatomy drawn once onto a cubic lattice, to be scanned many times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from InnerEarAILib.phantom.anatomy import Anatomy, PhantomEar, Rendering
from InnerEarAILib.phantom.lattice import affine_points, interpolate, interpolate_grid, lattice_affine
from InnerEarAILib.phantom.truth_lattice import FULL_SHARE, TruthLattice

SOFT_TISSUE_HOUNSFIELD = 40
"""CT number beyond the lattice: a temporal bone lies in a head."""

COARSENINGS = 3
"""Coarser copies kept beside the finest lattice, each of twice the edge; a coarse scan reads a coarse copy."""


@dataclass(frozen=True)
class RenderedAnatomy:
    """CT numbers and truth on a cubic lattice along the axes of the anatomy's frame; itself an Anatomy.

    Takes 4 bytes a voxel: a 40 mm cube at 0.15 mm is 76 MB. Costs about 15 % more with its coarser copies.

    Attributes:
        hounsfield: (k, j, i) int16, CT number, mean over the voxel.
        labyrinth: (k, j, i) uint8, share of the voxel that is labyrinth lumen, 0 to FULL_SHARE.
        part: (k, j, i) uint8, NO_PART, COCHLEA, VESTIBULE or CANALS.
        spacing_mm: edge of the voxels.
        origin: (3,) mm, centre of voxel (0, 0, 0) in the anatomy's frame.
        ears: the labyrinths that it holds.
        outside_hounsfield: CT number beyond the lattice.
        fine_truth: the labyrinth on a finer lattice, where it was drawn; the copies have none.
    """

    hounsfield: Tensor
    labyrinth: Tensor
    part: Tensor
    spacing_mm: float
    origin: np.ndarray
    ears: tuple[PhantomEar, ...]
    outside_hounsfield: float = SOFT_TISSUE_HOUNSFIELD
    fine_truth: TruthLattice | None = None
    _copies: list[RenderedAnatomy] = field(default_factory=list, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the lattice is kept; scans are computed there."""
        return self.hounsfield.device

    @property
    def centre(self) -> np.ndarray:
        """Centre of the lattice in the anatomy's frame, (3,) mm."""
        return self.origin + (np.array(self.hounsfield.shape[::-1]) - 1) / 2 * self.spacing_mm

    @property
    def extent_mm(self) -> np.ndarray:
        """Edge lengths of the lattice along x, y, z, (3,)."""
        return np.array(self.hounsfield.shape[::-1]) * self.spacing_mm

    def to(self, device: torch.device | str) -> RenderedAnatomy:
        """The same on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("hounsfield", "labyrinth", "part")}
        fine_truth = None if self.fine_truth is None else self.fine_truth.to(device)
        return replace(self, **moved, fine_truth=fine_truth, _copies=[])

    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the lattice; see Anatomy.render. A voxel much wider than the lattice reads a coarser copy of it."""
        level = self.coarser(edge_mm)
        indices = (points - torch.as_tensor(level.origin, dtype=torch.float32, device=points.device)) / level.spacing_mm
        limits = torch.tensor(level.part.shape[::-1], device=points.device) - 0.5
        inside = ((indices > -0.5) & (indices < limits)).all(1)
        nearest = indices[inside].round().long()
        part = torch.zeros(len(points), dtype=torch.uint8, device=points.device)
        part[inside] = level.part[nearest[:, 2], nearest[:, 1], nearest[:, 0]]
        return Rendering(level.sample_hounsfield(indices), level.sample_labyrinth(indices), part)

    def sample_hounsfield(self, indices_ijk: Tensor) -> Tensor:
        """CT numbers (n,) at continuous indices (i, j, k), (n, 3), of this lattice."""
        return interpolate(self.hounsfield[None], indices_ijk, torch.tensor([self.outside_hounsfield]))[0]

    def sample_labyrinth(self, indices_ijk: Tensor) -> Tensor:
        """Shares of labyrinth (n,), 0 to 1, at continuous indices (i, j, k), (n, 3), of this lattice."""
        return interpolate(self.labyrinth[None], indices_ijk, torch.zeros(1))[0] / FULL_SHARE

    def hounsfield_on(self, shape: tuple[int, int, int], affine: np.ndarray) -> Tensor:
        """CT numbers (k, j, i) on a grid whose affine (4, 4) maps indices (i, j, k, 1) to the anatomy's frame."""
        return interpolate_grid(self.hounsfield, shape, self._to_indices @ affine, self.outside_hounsfield)

    def truth_on(self, shape: tuple[int, int, int], affine: np.ndarray) -> tuple[Tensor, Tensor]:
        """Labyrinth share (float32, 0 to 1) and part (uint8), each (k, j, i), on a grid as in `hounsfield_on`."""
        to_indices = self._to_indices @ affine
        if self.fine_truth is None:
            share = interpolate_grid(self.labyrinth, shape, to_indices, 0.0).div_(FULL_SHARE)
        else:
            share = self.fine_truth.share_on(shape, affine)
        return share, interpolate_grid(self.part, shape, to_indices, 0.0, nearest=True).to(torch.uint8)

    @property
    def _to_indices(self) -> np.ndarray:
        """(4, 4), maps the anatomy's frame to indices (i, j, k)."""
        return np.linalg.inv(lattice_affine(self.spacing_mm, self.origin))

    def coarser(self, edge_mm: float) -> RenderedAnatomy:
        """The copy of this lattice whose voxels come closest to `edge_mm` from below; itself where none is."""
        level = self
        for number in range(COARSENINGS):
            if 2 * level.spacing_mm > edge_mm * 1.01:
                break
            if number == len(self._copies):
                self._copies.append(_half_as_fine(level))
            level = self._copies[number]
        return level

    def save(self, path: Path) -> None:
        """Writes the lattice to a safetensors file, whole or not at all."""
        ears = [
            {
                "side": ear.side,
                "landmarks": {name: np.asarray(p, float).tolist() for name, p in ear.landmarks.items()},
                "measures": dict(ear.measures),
            }
            for ear in self.ears
        ]
        described = {
            "spacing_mm": self.spacing_mm,
            "origin": np.asarray(self.origin, float).tolist(),
            "outside_hounsfield": self.outside_hounsfield,
            "ears": ears,
            "fine_truth": None if self.fine_truth is None else self.fine_truth.described(),
        }
        lattices = {name: getattr(self, name).cpu().contiguous() for name in ("hounsfield", "labyrinth", "part")}
        if self.fine_truth is not None:
            lattices["fine_truth"] = self.fine_truth.share.cpu().contiguous()
        unfinished = path.with_name(path.name + ".part")
        try:
            save_file(lattices, unfinished, {"rendered_anatomy": json.dumps(described)})
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)

    @staticmethod
    def load(path: Path) -> RenderedAnatomy:
        """Reads what `save` wrote."""
        with safe_open(path, "pt") as file:
            described = json.loads(file.metadata()["rendered_anatomy"])
            lattices = {name: file.get_tensor(name) for name in ("hounsfield", "labyrinth", "part")}
            fine = described.get("fine_truth")
            fine_truth = None if fine is None else TruthLattice.from_described(file.get_tensor("fine_truth"), fine)
        ears = tuple(
            PhantomEar(ear["side"], {n: np.array(p) for n, p in ear["landmarks"].items()}, ear["measures"])
            for ear in described["ears"]
        )
        return RenderedAnatomy(
            **lattices,
            spacing_mm=described["spacing_mm"],
            origin=np.array(described["origin"]),
            ears=ears,
            outside_hounsfield=described["outside_hounsfield"],
            fine_truth=fine_truth,
        )


def render_anatomy(
    anatomy: Anatomy,
    spacing_mm: float = 0.15,
    extent_mm: float | Sequence[float] = 40.0,
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    device: torch.device | str = "cpu",
    outside_hounsfield: float = SOFT_TISSUE_HOUNSFIELD,
    truth_spacing_mm: float | None = None,
) -> RenderedAnatomy:
    """Draws an anatomy onto a cubic lattice.

    Args:
        anatomy: what is drawn.
        spacing_mm: edge of the voxels.
        extent_mm: edge lengths of the drawn box along x, y, z, or one for all.
        centre: (3,) mm, centre of the box in the anatomy's frame.
        device: where the work is done and the lattice is kept.
        outside_hounsfield: CT number that scans find beyond the box.
        truth_spacing_mm: edge of the voxels of `fine_truth`, in the box round all labyrinths; None draws none.
    """
    counts = np.maximum(np.round(np.broadcast_to(np.asarray(extent_mm, float), 3) / spacing_mm).astype(int), 1)
    shape = tuple(int(n) for n in counts[::-1])
    origin = np.asarray(centre, float) - (counts - 1) / 2 * spacing_mm
    hounsfield = torch.empty(shape, dtype=torch.int16, device=device)
    labyrinth = torch.empty(shape, dtype=torch.uint8, device=device)
    part = torch.empty(shape, dtype=torch.uint8, device=device)
    for first in range(0, shape[0], layers_at_once(shape)):
        layers = slice(first, min(first + layers_at_once(shape), shape[0]))
        affine = lattice_affine(spacing_mm, origin + np.array([0, 0, first * spacing_mm]))
        block = (layers.stop - layers.start, *shape[1:])
        drawn = anatomy.render(affine_points(block, affine, device), spacing_mm)
        hounsfield[layers] = drawn.hounsfield.round().clamp(-32768, 32767).to(torch.int16).reshape(block)
        labyrinth[layers] = (drawn.labyrinth.clamp(0, 1) * FULL_SHARE).round().to(torch.uint8).reshape(block)
        part[layers] = drawn.part.reshape(block)
    rendered = RenderedAnatomy(hounsfield, labyrinth, part, spacing_mm, origin, anatomy.ears, outside_hounsfield)
    return rendered if truth_spacing_mm is None else with_fine_truth(rendered, anatomy, truth_spacing_mm)


def with_fine_truth(rendered: RenderedAnatomy, anatomy: Anatomy, spacing_mm: float) -> RenderedAnatomy:
    """A drawn anatomy with its labyrinths on a lattice of their own; unchanged where it shows none.

    Args:
        rendered: as `render_anatomy` drew it.
        anatomy: what was drawn.
        spacing_mm: edge of the voxels of the truth.
    """
    marked = torch.nonzero(rendered.labyrinth)
    if not len(marked):
        return rendered
    low, high = (
        rendered.origin + rendered.spacing_mm * (marked_kji.cpu().numpy()[::-1] + step)
        for marked_kji, step in ((marked.amin(0), -1), (marked.amax(0), 1))
    )
    return replace(rendered, fine_truth=TruthLattice.drawn(anatomy, low, high, spacing_mm, rendered.device))


def layers_at_once(shape: tuple[int, int, int], points: int = 1_000_000) -> int:
    """Layers of a (k, j, i) grid that hold about `points` points together; at least one."""
    return max(1, points // (shape[1] * shape[2]))


def _half_as_fine(level: RenderedAnatomy) -> RenderedAnatomy:
    pad = [length % 2 for length in level.hounsfield.shape]
    widths = (0, pad[2], 0, pad[1], 0, pad[0])

    def mean(lattice: Tensor) -> Tensor:
        padded = F.pad(lattice[None, None].float(), widths, mode="replicate")
        return F.avg_pool3d(padded, 2)[0, 0].round().to(lattice.dtype)

    part = F.pad(level.part[None, None].float(), widths, mode="replicate")
    return replace(
        level,
        hounsfield=mean(level.hounsfield),
        labyrinth=mean(level.labyrinth),
        part=F.max_pool3d(part, 2)[0, 0].to(torch.uint8),
        spacing_mm=2 * level.spacing_mm,
        origin=np.asarray(level.origin) + level.spacing_mm / 2,
        fine_truth=None,
        _copies=[],
    )
