"""A cochlear implant's electrode in an anatomy: metal contacts and their wire along the basal turn of the cochlea."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.anatomy import Anatomy, PhantomEar, Rendering, truth_at

METAL_HOUNSFIELD = 12000.0
"""Platinum, as far as a scanner's range lets it be seen; ours."""

CONTACT_RADIUS_MM, WIRE_RADIUS_MM = 0.3, 0.12
"""Contacts are bands of 0.5 to 0.8 mm on a carrier; the wires run together along it. From memory of data sheets."""

INSERTED_SHARE = (0.45, 0.75)
"""Share of the cochlear duct that the electrode fills."""


@dataclass(frozen=True)
class ImplantedAnatomy:
    """An anatomy with an electrode in its first ear.

    Attributes:
        host: the anatomy.
        wire: (n, 3) mm, course of the electrode.
        contacts: (m, 3) mm, centres of its contacts.
    """

    host: Anatomy
    wire: np.ndarray
    contacts: np.ndarray

    @property
    def ears(self) -> tuple[PhantomEar, ...]:
        """The ears of the host."""
        return self.host.ears

    def render(self, points: Tensor, edge_mm: float) -> Rendering:
        """Samples the host and the metal in it; see Anatomy.render. The lumen round the metal stays lumen."""
        drawn = self.host.render(points, edge_mm)
        low = torch.as_tensor(self.wire.min(0) - 1, dtype=torch.float32, device=points.device)
        high = torch.as_tensor(self.wire.max(0) + 1, dtype=torch.float32, device=points.device)
        near = ((points > low) & (points < high)).all(1).nonzero()[:, 0]
        if not len(near):
            return drawn
        hounsfield = drawn.hounsfield.clone()
        share = torch.zeros(len(near), device=points.device)
        for places, radius in ((self.wire, WIRE_RADIUS_MM), (self.contacts, CONTACT_RADIUS_MM)):
            centres = torch.as_tensor(places, dtype=torch.float32, device=points.device)
            distance = torch.cat([torch.cdist(piece, centres).amin(1) for piece in points[near].split(50_000)]) - radius
            # Thin metal in a wide voxel fills a small share of it: area of the cross-section over that of the voxel.
            filled = min(1.0, np.pi * radius**2 / edge_mm**2)
            share = torch.maximum(share, filled * (0.5 - distance / max(edge_mm, 2 * radius)).clamp(0, 1))
        hounsfield[near] = (1 - share) * hounsfield[near] + share * METAL_HOUNSFIELD
        return Rendering(hounsfield, drawn.labyrinth, drawn.part)

    def label(self, points: Tensor, edge_mm: float) -> tuple[Tensor, Tensor]:
        """The truth of the host, which metal does not change; see anatomy.Labelling."""
        return truth_at(self.host, points, edge_mm)


def implant(anatomy: Anatomy, centreline: np.ndarray, rng: np.random.Generator) -> ImplantedAnatomy:
    """Puts an electrode into the cochlea.

    Args:
        anatomy: the ear.
        centreline: (n, 3) mm, of the cochlear lumen from its base to its apex, in the anatomy's frame.
        rng: source of its length and number of contacts.
    """
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centreline, axis=0), axis=1))])
    depth = rng.uniform(*INSERTED_SHARE) * along[-1]

    def at(distances: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(distances, along, centreline[:, axis]) for axis in range(3)], 1)

    return ImplantedAnatomy(
        anatomy, at(np.arange(0, depth, 0.1)), at(np.linspace(0.1 * depth, depth, int(rng.integers(12, 23))))
    )
