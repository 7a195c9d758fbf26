"""The painting of the temporal bone itself: what lies beyond its surfaces, compact and marrow bone, air cells."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.canvas import Canvas
from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_nearby import NearbyLabyrinth
from InnerEarAILib.phantom.neighbours_bodies import NeighbourBodies
from InnerEarAILib.phantom.neighbours_shapes import smooth_max, smooth_min
from InnerEarAILib.phantom.neighbours_surfaces import BoneSurfaces
from InnerEarAILib.phantom.temporal_bone_parameters import FocusParameters, TemporalBoneParameters
from InnerEarAILib.phantom.texture import cell_lattice, noise_lattice, sample_lattice, wall_quantiles
from InnerEarAILib.phantom.tissue import AIR

NOISE_PERIOD_MM, GRAIN_PERIOD_MM, SWELL_PERIOD_MM = 26.0, 3.4, 60.0
"""Periods of the slow texture of compact bone, of its grain, and of the undulation of the bone's surfaces."""

SWELL_WAVES = 5.0
"""Waves in a period that the undulation has at most: it is smooth."""

DURA_MM, SUBARACHNOID_MM = 0.8, 1.5
"""Thickness of the dura and of the fluid under it."""

SULCUS_DEPTH_MM, SULCUS_SHARE = 9.0, 0.16
"""How deep the furrows of the brain reach, and where the texture puts them, in its SD; ours, by its look in MR."""

BRAIN_VARIATION = 0.4
"""How much less brain varies than muscle does."""

CISTERN_RADIUS_MM, CISTERN_REACH_MM = 6.5, 9.0
"""Cerebellopontine angle cistern: radius, and how far its centre lies beyond the porus; ours."""

DEHISCENCE_RADIUS_MM = 1.4
"""Of the gap over a dehiscent superior canal; ours, within the few mm that are reported."""

PORUS_BLEND_MM = 3.0
"""Over which the lips of the internal auditory canal are rounded."""

FILLET_MM = 3.0
"""Rounding where the bone over the labyrinth rises from the surface (arcuate eminence)."""

MARROW_ONSET, MEDIAL_MARROW = -1.6, 3.4
"""How rare marrow is in the mastoid and how much commoner in the petrous apex, in SD of the slow texture; ours."""

THICKEST_CAPSULE_MM = 3.4

ISLAND_HALF_HEIGHT_MM = 1.5
"""Half thickness of the solid bone that a semicircular canal winds round; ours, by a real scan, where it has
1650 to 1930 HU and no air."""

ISLAND_DEPTH_MM = 0.3
"""So far from the labyrinth counts the bone within a canal's loop; ours."""

SUBARCUATE_PNEUMATISATION = 1.0
"""Of the cells round the labyrinth, from which on they reach into the loop of the anterior canal, too; ours."""

TRABECULA_SHARE = 0.8
"""CT number of a single trabecula as a share of compact bone's; ours."""

BUBBLE_PERIOD_MM = 11.0

CELL_SEEDS = 8
"""How many patterns of cells there are; each costs half a second once."""


class BonePainter(Canvas):
    """Paints the bone of one ear over what lies behind it.

    Args:
        labyrinth, parameters, bodies, surfaces: of the temporal bone.
        points: (n, 3) mm, frame of the ear.
        edge_mm: edge of the voxel round each point.
        behind: gives the CT numbers (m,) of what lies behind the points with the given indices (m,).

    Attributes:
        nearby: the labyrinth as the points see it.
        from_lumen: (n,) mm from it.
        lamina_mm: thickness of the osseous spiral lamina.
        turned: (n, 3) the points in the neighbourhood's frame.
        from_capsule: (n,) mm from the labyrinth and from the bone that its canals wind round.
        noise: (3, n) slow texture, mean 0, SD 1.
        solid: (n,) mm, signed distance of the bone once it is painted.
    """

    def __init__(
        self,
        labyrinth: Labyrinth,
        parameters: TemporalBoneParameters,
        bodies: NeighbourBodies,
        surfaces: BoneSurfaces,
        points: Tensor,
        edge_mm: float,
        behind: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(points, edge_mm, 0.0)
        self._behind = behind
        self.parameters, self.bodies, self.surfaces = parameters, bodies, surfaces
        self.figures, self.tissue = parameters.neighbours, parameters.tissue
        self.frames, self.lamina_mm = labyrinth.frames, labyrinth.parameters.cochlea.lamina_thickness_mm
        self.turned = surfaces.turned(points)
        self._texture_shift = points.new_tensor(parameters.texture_shift)
        self.noise = self.texture(self.turned, NOISE_PERIOD_MM)
        self.nearby = NearbyLabyrinth(self, labyrinth)
        self.from_lumen = self.nearby.from_lumen
        self.from_capsule = self._with_islands(self.from_lumen)
        self.solid = self.from_lumen

    def texture(self, turned: Tensor, period_mm: float) -> Tensor:
        """Noise (3, n) of mean 0 and SD 1 at points of the neighbourhood's frame."""
        return sample_lattice(
            noise_lattice(self.parameters.noise_seed, turned.device), turned + self._texture_shift, period_mm
        )

    def undulation(self, turned: Tensor) -> Tensor:
        """Noise as `texture` gives it, over centimetres and without finer parts."""
        lattice = noise_lattice(self.parameters.noise_seed, turned.device, SWELL_WAVES)
        return sample_lattice(lattice, turned + self._texture_shift, SWELL_PERIOD_MM)

    def paint_bone(self) -> None:
        """Paints bone, neck and cranial cavity."""
        bone = self.figures.bone
        solid, cranial, below = self._surface_distances()
        shell = self.from_lumen - bone.shell_thickness * (1 + 0.25 * self.noise[1].clamp(-2, 2))
        self.solid = smooth_min(solid, shell, FILLET_MM)
        if self.parameters.dehiscent:
            opened = self._opening_over_canal()
            self.solid = torch.maximum(self.solid, opened)
            cranial = torch.minimum(cranial, -opened)
        cranial = self._round_porus(cranial)
        cranial = torch.maximum(cranial, -self.solid - self.edge_mm)
        seen = (torch.minimum(torch.minimum(self.solid, cranial), below) > -0.5 * self.edge_mm).nonzero()[:, 0]
        if len(seen):
            self.hounsfield[seen] = self._behind(seen)
        self._paint_neck(below)
        self._paint_cranial(cranial)
        index = (self.solid < 0.5 * self.edge_mm).nonzero()[:, 0]
        if len(index):
            depth = -self.solid[index]
            grain = self.texture(self.turned[index] + 3.7, GRAIN_PERIOD_MM)
            self.paint(index, self.coverage(-depth), self._bone_value(index, depth, grain))
            self._paint_cells(index, depth, grain)

    def cavity_filling(self, index: Tensor) -> Tensor:
        """What fills an air space at the chosen points: air, and effusion where it stands, bubbles in resin."""
        tissue, figures = self.tissue, self.figures
        filling = torch.full((len(index),), tissue.air, device=self.points.device)
        if figures.effusion_level > -99:
            height = self.points[index] @ self.points.new_tensor(figures.effusion_up)
            wet = self.coverage(height - figures.effusion_level + 0.8 * self.noise[1, index])
            filling = filling + wet * (tissue.effusion - filling)
        return self.with_bubbles(index, filling) if tissue.state == "embedded" else filling

    def with_bubbles(self, index: Tensor, value: Tensor) -> Tensor:
        """CT numbers at the chosen points with air bubbles among them."""
        if self.tissue.bubble_share <= 0:
            return value
        to_wall = self._cells(self.points[index], BUBBLE_PERIOD_MM)[0] * BUBBLE_PERIOD_MM
        chosen = self.noise[0, index] > 1.6 - 2.5 * self.tissue.bubble_share
        return value + self.coverage(0.25 - to_wall) * chosen * (AIR - value)

    def within_focus(self, focus: FocusParameters, index: Tensor, grain: Tensor) -> Tensor:
        """Share (m,) of a diseased focus at the chosen points."""
        offset = torch.linalg.vector_norm(self.points[index] - self.points.new_tensor(focus.centre), dim=1)
        return (0.5 - (offset - focus.radius + 0.25 * grain[0]) / 0.6).clamp(0, 1)

    # Beyond the surfaces

    def _surface_distances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bone, cranial cavity and neck, as BoneSurfaces.distances gives them; exact at the surfaces."""
        if self.coarse is None:
            return self.surfaces.distances(self.turned, self.noise, self.undulation(self.turned))
        nodes = self.surfaces.turned(self.coarse.nodes)
        noise, swell = self.texture(nodes, NOISE_PERIOD_MM), self.undulation(nodes)
        read = self.coarse.read(torch.stack(self.surfaces.distances(nodes, noise, swell)))
        close = (read.abs().amin(0) < 0.5 * self.edge_mm + self.coarse.slack_mm).nonzero()[:, 0]
        turned = self.turned[close]
        exact = self.surfaces.distances(turned, self.noise[:, close], self.undulation(turned))
        read[:, close] = torch.stack(exact)
        return tuple(read)

    def _opening_over_canal(self) -> Tensor:
        """(n,) mm, positive in the gap of the bone over the highest point of the superior canal."""
        centreline = self.frames.canal_centrelines["anterior"]
        top = self.points.new_tensor(centreline[np.argmax(centreline[:, 2])].tolist())
        offset = self.points - top
        sideways = DEHISCENCE_RADIUS_MM - torch.linalg.vector_norm(offset[:, :2], dim=1)
        return torch.minimum(torch.minimum(sideways, offset[:, 2]), 6.0 - offset[:, 2])

    def _round_porus(self, cranial: Tensor) -> Tensor:
        """Rounds the lips of the internal auditory canal off the bone; the cranial cavity with what it gains by it."""
        index, distance = self.reached(self.bodies.canal, PORUS_BLEND_MM)
        if not len(index):
            return cranial
        solid = self.solid[index]
        rounded = smooth_max(solid, -distance - PORUS_BLEND_MM / 8, PORUS_BLEND_MM)
        lost = (distance > -self.edge_mm) & (rounded > solid + 1e-3)
        self.solid = self.solid.index_copy(0, index, torch.where(lost, rounded, solid))
        gained = torch.where(lost, torch.minimum(cranial[index], -rounded), cranial[index])
        return cranial.index_copy(0, index, gained)

    def _paint_neck(self, below: Tensor) -> None:
        index = (below < 0.5 * self.edge_mm).nonzero()[:, 0]
        if len(index):
            tissue, noise = self.tissue, self.noise[:, index]
            soft = tissue.muscle + tissue.soft_variation * noise[0]
            fatty = torch.sigmoid(5 * (noise[1] - 0.8))
            self.paint(index, self.coverage(below[index]), soft + fatty * (tissue.fat - soft))

    def _paint_cranial(self, cranial: Tensor) -> None:
        """Dura, fluid, and brain with its furrows and the cistern before the internal auditory canal."""
        index = (cranial < 0.5 * self.edge_mm).nonzero()[:, 0]
        if len(index):
            tissue, inside = self.tissue, cranial[index]
            noise = self.noise[:, index]
            self.paint(index, self.coverage(inside), tissue.dura)
            self.paint(index, self.coverage(inside + DURA_MM), tissue.cerebrospinal)
            brain = tissue.brain + BRAIN_VARIATION * tissue.soft_variation * noise[2]
            furrow = (1 - noise[0].abs() / SULCUS_SHARE).clamp_min(0) * SULCUS_DEPTH_MM
            gap = DURA_MM + SUBARACHNOID_MM * (1 + 0.8 * noise[1]) + furrow
            cistern = CISTERN_RADIUS_MM * (1 + 0.25 * noise[1]) - self._from_cistern(index)
            self.paint(index, self.coverage(torch.maximum(inside + gap, cistern)), brain)

    def _from_cistern(self, index: Tensor) -> Tensor:
        figures = self.figures
        beyond = (figures.canal_length + CISTERN_REACH_MM) * np.array(figures.canal_direction)
        centre = self.bodies.canal.nodes[0] + beyond
        return torch.linalg.vector_norm(self.points[index] - self.points.new_tensor(centre.tolist()), dim=1)

    # Within the bone

    def _bone_value(self, index: Tensor, depth: Tensor, grain: Tensor) -> Tensor:
        """CT number of bone at the chosen points: capsule, compact and marrow bone, foci."""
        bone, tissue = self.figures.bone, self.tissue
        noise, from_capsule = self.noise[:, index], self.from_capsule[index]
        compact = tissue.cortex + tissue.compact_variation * (noise[0] + 0.5 * grain[0])
        capsule = tissue.capsule + 0.6 * tissue.compact_variation * (noise[1] + 0.5 * grain[1])
        thickness = (bone.capsule_thickness * (1 + 0.3 * noise[2])).clamp_max(THICKEST_CAPSULE_MM)
        value = compact + (capsule - compact) * torch.sigmoid(3 * (thickness - from_capsule))
        clear = torch.minimum(depth - bone.cortex_thickness * (1 + 0.3 * noise[1]), from_capsule - 1.25 * thickness)
        medial = torch.sigmoid((self.turned[index, 0] - 6) / 2)
        beside = MARROW_ONSET + bone.marrow_share * (1.4 + MEDIAL_MARROW * medial)
        beside = beside + 0.8 * (1 - bone.mastoid_pneumatisation)
        share = (0.5 + clear / 0.6).clamp(0, 1) * torch.sigmoid(4 * (noise[1] + beside))
        spongy = (share > 0.01).nonzero()[:, 0]
        value[spongy] = torch.lerp(value[spongy], self._marrow(index[spongy], grain[:, spongy]), share[spongy])
        for focus in self.parameters.bone_foci:
            value = value + self.within_focus(focus, index, grain) * (focus.hounsfield - value)
        return value

    def _marrow(self, index: Tensor, grain: Tensor) -> Tensor:
        """CT numbers of marrow bone: fatty marrow in a mesh of trabeculae, thick as their mean number asks."""
        tissue, period = self.tissue, self.figures.bone.marrow_period
        trabecula = TRABECULA_SHARE * tissue.cortex
        filling = tissue.marrow + 4 * tissue.soft_variation * grain[0]
        wanted = tissue.trabecula + tissue.trabecular_variation * self.noise[0, index]
        share = ((wanted - tissue.marrow) / (trabecula - tissue.marrow)).clamp(0.04, 0.9)
        quantiles = wall_quantiles(self.parameters.noise_seed % CELL_SEEDS, self.points.device)
        place = share * (len(quantiles) - 1)
        lower = place.long()
        half = torch.lerp(quantiles[lower], quantiles[lower + 1], place - lower) * period
        to_wall = self._cells(self.turned[index] + 0.25 * grain.T, period)[0] * period
        return filling + self.plate_coverage(to_wall, half * (1 + 0.35 * grain[1]).clamp_min(0)) * (trabecula - filling)

    def _with_islands(self, from_lumen: Tensor) -> Tensor:
        """The distance from the lumen, with the islands within the canals' loops taken as part of its surroundings."""
        distance = from_lumen
        for name, course in self.frames.canal_centrelines.items():
            if name == "anterior" and self.figures.bone.perilabyrinthine_pneumatisation > SUBARCUATE_PNEUMATISATION:
                continue
            centre = course.mean(0)
            normal = np.linalg.svd(course - centre)[2][2]
            radius = np.linalg.norm(course - centre, axis=1).mean()
            offset = self.points - self.points.new_tensor(centre)
            height = offset @ self.points.new_tensor(normal)
            across = (offset.square().sum(1) - height.square()).clamp_min(0).sqrt()
            from_island = torch.maximum(across - radius, height.abs() - ISLAND_HALF_HEIGHT_MM)
            distance = torch.minimum(distance, from_island.clamp_min(0) + ISLAND_DEPTH_MM)
        return distance

    def _paint_cells(self, index: Tensor, depth: Tensor, grain: Tensor) -> None:
        """Air cells of all sizes, their walls uneven and in places missing, some filled with mucosa."""
        bone = self.figures.bone
        aeration = self.surfaces.pneumatisation(self.turned[index])
        chosen = (aeration > 0.05).nonzero()[:, 0]
        if not len(chosen):
            return
        index, depth, aeration, grain = index[chosen], depth[chosen], aeration[chosen], grain[:, chosen]
        noise = self.noise[:, index]
        to_wall, name = self._cells(self.turned[index] + 0.7 * noise.T + 0.06 * grain.T, bone.cell_period)
        missing = (0.6 - aeration + 0.25 * noise[1]).clamp_min(0)
        wall = bone.cell_wall * (1 + 0.3 * noise[2] + 0.5 * grain[1]).clamp(0, 2.5)
        wall = wall + 0.09 * bone.cell_period * missing**1.5
        room = torch.minimum(depth - bone.cortex_thickness * 0.7, self.from_capsule[index] - bone.cell_margin)
        air = (1 - self.plate_coverage(to_wall * bone.cell_period, wall)) * self.coverage(-room)
        filling = torch.where(name < bone.filled_cells, self.tissue.mucosa, self.cavity_filling(index))
        self.paint(index, air, filling)

    def _cells(self, points: Tensor, period_mm: float) -> Tensor:
        """Distance to the nearest wall between cells in periods, and number of the cell, (2, n)."""
        lattice = cell_lattice(self.parameters.noise_seed % CELL_SEEDS, points.device)
        return sample_lattice(lattice, points + self._texture_shift, period_mm)
