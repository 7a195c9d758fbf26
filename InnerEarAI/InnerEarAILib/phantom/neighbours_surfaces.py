"""The outer surfaces of the temporal bone, and which part of it is pneumatised or marrow."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from InnerEarAILib.phantom.neighbours_parameters import BoneParameters, Vector
from InnerEarAILib.phantom.neighbours_shapes import smooth_max, smooth_min

EDGE_BLEND_MM = 2.5
"""Rounding of the edges where two surfaces of the bone meet."""

SQUAMA_MM = 4.5
"""Thickness of the squama, the bone beside the middle fossa."""

EMINENCE_MM = 6.5
"""Breadth of the arcuate eminence, the hill over the superior canal."""

FRONT_MM, BACK_MM = -30.0, 40.0
"""y at which the temporal bone gives way to sphenoid and occipital bone."""

OPENING_CENTRE, OPENING_RADIUS_MM = (6.0, 6.0, 0.0), 34.0
"""Ball within which the cranial cavity is shaped by the temporal bone; beyond it is the head's."""

REACH_LOW, REACH_HIGH = np.array([-34.0, -42.0, -40.0]), np.array([60.0, 60.0, 28.0])
"""Box round the vestibule within which the temporal bone is drawn, mm."""


class BoneSurfaces:
    """Signed distance of the temporal bone's outer surface, in the frame of the ear.

    Attributes:
        parameters: the figures.
        turn: rotation from the ear's frame to that of the neighbourhood.
    """

    def __init__(self, parameters: BoneParameters, posture: Vector) -> None:
        self.parameters = parameters
        self.turn = Rotation.from_rotvec(posture, degrees=True).inv().as_matrix()
        angle = np.deg2rad(parameters.pyramid_angle)
        self._along = (float(np.cos(angle)), float(-np.sin(angle)))
        self._across = (float(np.sin(angle)), float(np.cos(angle)))

    def turned(self, points: Tensor) -> Tensor:
        """Points (n, 3) of the ear's frame in the neighbourhood's frame."""
        return points @ torch.as_tensor(self.turn.T, dtype=points.dtype, device=points.device)

    def distances(self, turned: Tensor, noise: Tensor, swell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bone, cranial cavity and the soft tissue under the skull base: signed distances (n,) mm, negative inside.

        Args:
            turned: (n, 3) as `turned` gives them.
            noise, swell: (3, n) of mean 0 and SD 1, roughen and undulate the surfaces.
        """
        figures = self.parameters
        x, y, z = turned.unbind(1)
        along = self._along[0] * x + self._along[1] * y
        across = self._across[0] * x + self._across[1] * y
        rough = figures.roughness * noise + figures.undulation * swell
        roof = self._below_roof(x, y, z, along) + rough[0]
        back = self._before_back(across, z) + rough[1]
        outer = figures.lateral_edge + 0.012 * (8 - y).clamp(0, 22) ** 2 - 0.08 * z.clamp_min(0) + rough[2]
        inner = figures.lateral_edge + SQUAMA_MM - 0.15 * z.clamp_min(0) + rough[0]
        side = outer - x
        upper = smooth_max(roof, back, EDGE_BLEND_MM)
        lower = smooth_max(side, self._above_base(x, y, z) + rough[0] + 0.8 * noise[2], EDGE_BLEND_MM)
        petrous = smooth_max(upper, lower, EDGE_BLEND_MM)
        squama = torch.maximum(torch.maximum(side, x - inner), figures.fossa_floor - 2 - z)
        ends = torch.maximum(torch.maximum(FRONT_MM - y, y - BACK_MM), x - figures.medial_edge)
        bone = smooth_max(smooth_min(petrous, squama, EDGE_BLEND_MM), ends, EDGE_BLEND_MM)
        # The floor of the posterior fossa sinks from the mastoid towards the foramen magnum.
        floor = figures.base_height - 0.5 * (x + 10).clamp(0, 34) - z
        opening = torch.linalg.vector_norm(turned - turned.new_tensor(OPENING_CENTRE), dim=1) - OPENING_RADIUS_MM
        cavity = torch.stack([-upper, inner - x, floor, opening, x - figures.medial_edge]).amax(0)
        sides = torch.maximum(figures.lateral_edge - x, x - figures.medial_edge)
        below = torch.stack([z - figures.fossa_floor, sides, -25 - y, opening]).amax(0)
        return bone, cavity, below

    def _below_roof(self, x: Tensor, y: Tensor, z: Tensor, along: Tensor) -> Tensor:
        figures = self.parameters
        crest = figures.tegmen_height - 0.17 * (along - 2).clamp_min(0)
        where_x, where_y, rise = figures.eminence
        crest = crest + rise * torch.exp(-((x - where_x) ** 2 + (y - where_y) ** 2) / EMINENCE_MM**2)
        edge = figures.anterior_edge - 0.78 * (x - 2).clamp_min(0)
        fall = torch.sigmoid((y - edge) / 1.5)
        height = figures.fossa_floor + (crest - figures.fossa_floor) * fall
        slope = (crest - figures.fossa_floor) * fall * (1 - fall) / 1.5
        return (z - height) / (1 + slope**2).sqrt()

    def _before_back(self, across: Tensor, z: Tensor) -> Tensor:
        offset = self.parameters.posterior_offset - 0.15 * z - 0.75 * (z - 4.5).clamp_min(0)
        return (across - offset) / torch.where(z > 4.5, 1.35, 1.01)

    def _above_base(self, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
        figures = self.parameters
        process = figures.mastoid_length * torch.exp(-(((x + 16) / 8) ** 2) - ((y - 11) / 8) ** 2)
        rise = 6.0 * torch.sigmoid((-8 - y) / 1.5) + 6.0 * torch.sigmoid((x - 7) / 3)
        return (figures.base_height - process + rise - z) / 1.4

    def pneumatisation(self, turned: Tensor) -> Tensor:
        """(n,) how far air cells develop at each point: 0 or less none, 1 full."""
        figures = self.parameters
        regions = (
            ((-13.0, 11.0, -4.0), (1 / 15, 1 / 15, 1 / 21), figures.mastoid_pneumatisation),
            ((-12.0, 3.0, 6.0), (1 / 15, 1 / 11, 1 / 9), figures.mastoid_pneumatisation),
            ((-1.0, 5.0, -8.0), (1 / 9, 1 / 7, 1 / 7), figures.perilabyrinthine_pneumatisation),
            ((1.0, 5.0, 6.5), (1 / 9, 1 / 7, 1 / 5), figures.perilabyrinthine_pneumatisation),
            ((3.0, -9.0, -7.0), (1 / 8, 1 / 6, 1 / 5), figures.perilabyrinthine_pneumatisation),
            ((17.0, -8.0, -1.0), (1 / 12, 1 / 9, 1 / 9), figures.apex_pneumatisation),
        )
        best = None
        for centre, scale, share in regions:
            offset = (turned - turned.new_tensor(centre)) * turned.new_tensor(scale)
            here = share * (1.9 - 1.3 * torch.linalg.vector_norm(offset, dim=1)).clamp(0, 1)
            best = here if best is None else torch.maximum(best, here)
        return best
