"""The painting of a temporal bone, layer by layer from background to foreground.

Cranial cavity, bone with marrow and air cells, middle ear, vessels, nerves, labyrinth, ossicles and membranes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_nearby import NearbyLabyrinth
from InnerEarAILib.phantom.neighbours_bodies import CRUS_RADIUS_MM, NeighbourBodies
from InnerEarAILib.phantom.neighbours_canvas import Body, Canvas
from InnerEarAILib.phantom.neighbours_shapes import smooth_min
from InnerEarAILib.phantom.neighbours_surfaces import BoneSurfaces
from InnerEarAILib.phantom.temporal_bone_parameters import FocusParameters, TemporalBoneParameters
from InnerEarAILib.phantom.texture import cell_lattice, noise_lattice, sample_lattice
from InnerEarAILib.phantom.tissue import AIR

NOISE_PERIOD_MM, GRAIN_PERIOD_MM = 26.0, 3.4
"""Periods of the slow texture of compact bone and of the grain of marrow bone."""

DURA_MM, SUBARACHNOID_MM = 0.8, 1.5
"""Thickness of the dura and of the fluid under it."""

DEHISCENCE_RADIUS_MM = 1.4
"""Of the gap over a dehiscent superior canal; ours, within the few mm that are reported."""

FILLET_MM = 3.0
"""Rounding where the bone over the labyrinth rises from the surface (arcuate eminence)."""

MODIOLUS_SHARE = 0.5
"""Share of bone in the modiolus, the rest being nerve and vessels; ours, by the look of it in CT."""

MARROW_ONSET = -1.6
"""How rare marrow is in the mastoid, in SD of the slow texture; ours."""

LEAST_WALL_MM = 0.3
"""Bone that is left between the labyrinth and any canal, vessel or nerve."""


class TemporalBonePainter(Canvas):
    """Paints one temporal bone over what lies behind it, at points within its reach.

    Args:
        labyrinth, parameters, bodies, surfaces: of the temporal bone.
        points: (n, 3) mm, frame of the ear.
        edge_mm: edge of the voxel round each point.
        behind: gives the CT numbers (m,) of what lies behind the points with the given indices (m,).
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
        self.frames = labyrinth.frames
        self.turned = surfaces.turned(points)
        self.noise = self._texture(self.turned, NOISE_PERIOD_MM)
        self.nearby = NearbyLabyrinth(self, labyrinth)
        self.from_lumen = self.nearby.from_lumen
        self.solid = self.from_lumen

    def painted(self) -> Tensor:
        """CT numbers (n,)."""
        self._paint_bone()
        self._paint_middle_ear()
        self._paint_vessels_and_nerves()
        if self.nearby.distances is not None:
            self._paint_labyrinth()
        self._paint_ossicles()
        return self.hounsfield

    def _texture(self, turned: Tensor, period_mm: float) -> Tensor:
        return sample_lattice(noise_lattice(self.parameters.noise_seed, turned.device), turned, period_mm)

    # Bone

    def _paint_bone(self) -> None:
        bone = self.figures.bone
        solid, cranial, below = self._surface_distances()
        shell = self.from_lumen - bone.shell_thickness * (1 + 0.25 * self.noise[1].clamp(-2, 2))
        self.solid = smooth_min(solid, shell, FILLET_MM)
        if self.parameters.dehiscent:
            opened = self._opening_over_canal()
            self.solid = torch.maximum(self.solid, opened)
            cranial = torch.minimum(cranial, -opened)
        cranial = torch.maximum(cranial, -self.solid - self.edge_mm)
        seen = (torch.minimum(torch.minimum(self.solid, cranial), below) > -0.5 * self.edge_mm).nonzero()[:, 0]
        if len(seen):
            self.hounsfield[seen] = self._behind(seen)
        self._paint_neck(below)
        self._paint_cranial(cranial)
        index = (self.solid < 0.5 * self.edge_mm).nonzero()[:, 0]
        if len(index):
            depth = -self.solid[index]
            grain = self._texture(self.turned[index] + 3.7, GRAIN_PERIOD_MM)
            self.paint(index, self.coverage(-depth), self._bone_value(index, depth, grain))
            self._paint_cells(index, depth)

    def _surface_distances(self) -> tuple[Tensor, Tensor, Tensor]:
        """Bone, cranial cavity and neck, as BoneSurfaces.distances gives them; exact at the surfaces."""
        if self.coarse is None:
            return self.surfaces.distances(self.turned, self.noise)
        nodes = self.surfaces.turned(self.coarse.nodes)
        at_nodes = self.surfaces.distances(nodes, self._texture(nodes, NOISE_PERIOD_MM))
        read = self.coarse.read(torch.stack(at_nodes))
        close = (read.abs().amin(0) < 0.5 * self.edge_mm + self.coarse.slack_mm).nonzero()[:, 0]
        read[:, close] = torch.stack(self.surfaces.distances(self.turned[close], self.noise[:, close]))
        return tuple(read)

    def _opening_over_canal(self) -> Tensor:
        """(n,) mm, positive in the gap of the bone over the highest point of the superior canal."""
        centreline = self.frames.canal_centrelines["anterior"]
        top = self.points.new_tensor(centreline[np.argmax(centreline[:, 2])].tolist())
        offset = self.points - top
        sideways = DEHISCENCE_RADIUS_MM - torch.linalg.vector_norm(offset[:, :2], dim=1)
        return torch.minimum(torch.minimum(sideways, offset[:, 2]), 6.0 - offset[:, 2])

    def _paint_neck(self, below: Tensor) -> None:
        index = (below < 0.5 * self.edge_mm).nonzero()[:, 0]
        if len(index):
            tissue, noise = self.tissue, self.noise[:, index]
            soft = tissue.muscle + tissue.soft_variation * noise[0]
            fatty = torch.sigmoid(5 * (noise[1] - 0.8))
            self.paint(index, self.coverage(below[index]), soft + fatty * (tissue.fat - soft))

    def _paint_cranial(self, cranial: Tensor) -> None:
        index = (cranial < 0.5 * self.edge_mm).nonzero()[:, 0]
        if len(index):
            tissue, inside = self.tissue, cranial[index]
            noise = self.noise[:, index]
            self.paint(index, self.coverage(inside), tissue.dura)
            self.paint(index, self.coverage(inside + DURA_MM), tissue.cerebrospinal)
            brain = tissue.brain + tissue.soft_variation * noise[2]
            gap = DURA_MM + SUBARACHNOID_MM * (1 + 0.8 * noise[1])
            self.paint(index, self.coverage(inside + gap), brain)

    def _bone_value(self, index: Tensor, depth: Tensor, grain: Tensor) -> Tensor:
        """CT number of bone at the chosen points: capsule, compact and marrow bone, foci."""
        bone, tissue = self.figures.bone, self.tissue
        noise, from_lumen = self.noise[:, index], self.from_lumen[index]
        compact = tissue.cortex + tissue.compact_variation * (noise[0] + 0.5 * grain[0])
        capsule = tissue.capsule + 0.6 * tissue.compact_variation * (noise[1] + 0.5 * grain[1])
        thickness = bone.capsule_thickness * (1 + 0.3 * noise[2])
        value = compact + (capsule - compact) * torch.sigmoid(3 * (thickness - from_lumen))
        marrow = tissue.trabecula + tissue.trabecular_variation * (0.6 * noise[0] + grain[2])
        clear = torch.minimum(depth - bone.cortex_thickness * (1 + 0.3 * noise[1]), from_lumen - 1.25 * thickness)
        medial = torch.sigmoid((self.turned[index, 0] - 6) / 2)
        beside = MARROW_ONSET + bone.marrow_share * (1.4 + 2.2 * medial) + 0.8 * (1 - bone.mastoid_pneumatisation)
        spread = torch.sigmoid(4 * (noise[1] + beside))
        value = value + (0.5 + clear / 0.6).clamp(0, 1) * spread * (marrow.clamp_min(-60) - value)
        for focus in self.parameters.bone_foci:
            value = value + self._within_focus(focus, index, grain) * (focus.hounsfield - value)
        return value

    def _within_focus(self, focus: FocusParameters, index: Tensor, grain: Tensor) -> Tensor:
        offset = torch.linalg.vector_norm(self.points[index] - self.points.new_tensor(focus.centre), dim=1)
        return (0.5 - (offset - focus.radius + 0.25 * grain[0]) / 0.6).clamp(0, 1)

    def _paint_cells(self, index: Tensor, depth: Tensor) -> None:
        """Air cells: honeycomb where the bone is pneumatised, single cells where it hardly is."""
        bone = self.figures.bone
        aeration = self.surfaces.pneumatisation(self.turned[index])
        chosen = (aeration > 0.05).nonzero()[:, 0]
        if not len(chosen):
            return
        index, depth, aeration = index[chosen], depth[chosen], aeration[chosen]
        noise = self.noise[:, index]
        lattice = cell_lattice(self.parameters.noise_seed % 8, self.points.device)
        stretched = self.turned[index] + 0.6 * noise.T
        to_wall = sample_lattice(lattice, stretched, bone.cell_period)[0] * bone.cell_period
        missing = (0.85 - aeration + 0.3 * noise[1]).clamp_min(0)
        wall = bone.cell_wall * (1 + 0.3 * noise[2]).clamp_min(0.3) + 0.09 * bone.cell_period * missing**1.5
        room = torch.minimum(depth - bone.cortex_thickness * 0.7, self.from_lumen[index] - bone.cell_margin)
        air = (1 - self.plate_coverage(to_wall, wall)) * self.coverage(-room)
        self.paint(index, air, self._cavity_filling(index))

    # Middle ear

    def _cavity_filling(self, index: Tensor) -> Tensor:
        """What fills an air space at the chosen points: air, and effusion where it stands, bubbles in resin."""
        tissue, figures = self.tissue, self.figures
        filling = torch.full((len(index),), tissue.air, device=self.points.device)
        if figures.effusion_level > -99:
            height = self.points[index] @ self.points.new_tensor(figures.effusion_up)
            wet = self.coverage(height - figures.effusion_level + 0.8 * self.noise[1, index])
            filling = filling + wet * (tissue.effusion - filling)
        return self._with_bubbles(index, filling) if tissue.state == "embedded" else filling

    def _with_bubbles(self, index: Tensor, value: Tensor) -> Tensor:
        if self.tissue.bubble_share <= 0:
            return value
        period = 11.0
        to_wall = sample_lattice(cell_lattice(9, self.points.device), self.points[index], period)[0] * period
        chosen = self.noise[0, index] > 1.6 - 2.5 * self.tissue.bubble_share
        return value + self.coverage(0.25 - to_wall) * chosen * (AIR - value)

    def _paint_cavity(self, body: Body, keep_out: Tensor) -> None:
        index, distance = self.reached(body, 1.5 + self.edge_mm)
        if len(index):
            rough = distance + 0.5 * self.noise[2, index]
            self.paint(index, self.coverage(torch.maximum(rough, keep_out[index])), self._cavity_filling(index))

    def _paint_middle_ear(self) -> None:
        bodies = self.bodies
        self._paint_walled(bodies.ear_canal, 1.5)
        promontory = self.figures.promontory_thickness * (1 + 0.2 * self.noise[0]) - self.from_lumen
        for cavity in bodies.cavities:
            self._paint_cavity(cavity, torch.maximum(promontory, self.solid - 6))
        self.paint_body(bodies.ear_canal, self.tissue.air)
        for niche in bodies.niches:
            index, distance = self.reached(niche, self.edge_mm)
            if len(index):
                self.paint(index, self.coverage(distance), self._cavity_filling(index))

    def _paint_walled(self, body: Body, wall_mm: float) -> None:
        """Paints the bony wall of a canal as far as it runs through the bone."""
        index, distance = self.reached(body, wall_mm + self.edge_mm)
        if len(index):
            walled = torch.maximum(distance - wall_mm, self.solid[index])
            self.paint(index, self.coverage(walled), self.tissue.cortex)

    # Vessels and nerves

    def _paint_vessels_and_nerves(self) -> None:
        bodies, tissue = self.bodies, self.tissue
        keep_out = LEAST_WALL_MM - self.from_lumen
        for vessel in (bodies.carotid, bodies.jugular):
            self._paint_walled(vessel, 0.6)
            self.paint_body(vessel, tissue.blood, keep_out)
        self.paint_body(bodies.styloid, tissue.cortex)
        self._paint_joint()
        self.paint_body(bodies.tensor, tissue.muscle, keep_out)
        if self.figures.facial_wall > 0:
            self._paint_plated(bodies.facial, self.figures.facial_wall)
        self.paint_body(bodies.facial, tissue.nerve, keep_out)
        self.paint_body(bodies.canal, tissue.cerebrospinal, keep_out)
        for nerve in bodies.canal_nerves:
            self.paint_body(nerve, tissue.nerve)

    def _paint_plated(self, body: Body, wall_mm: float) -> None:
        """Paints the thin bony wall of the facial canal where it crosses the middle ear."""
        index, distance = self.reached(body, wall_mm + self.edge_mm)
        if len(index):
            height = distance - 0.5 * wall_mm
            covered = self.plate_coverage(height, 0.5 * wall_mm) * self.coverage(self.solid[index])
            self.paint(index, covered, self.tissue.cortex)

    def _paint_joint(self) -> None:
        """Temporomandibular joint: cartilage and synovia round the condyle, the condyle with its marrow."""
        bodies, tissue = self.bodies, self.tissue
        index, distance = self.reached(bodies.condyle, 3.0 + self.edge_mm)
        if len(index):
            self.paint(index, self.coverage(distance - 2.2), tissue.muscle)
        for bone in (bodies.condyle, bodies.condyle_neck):
            index, distance = self.reached(bone, self.edge_mm)
            if len(index):
                self.paint(index, self.coverage(distance), tissue.cortex)
                grain = tissue.trabecula + tissue.trabecular_variation * self.noise[2, index]
                self.paint(index, self.coverage(distance + 1.3), grain.clamp_min(-60))

    # Labyrinth

    def _paint_labyrinth(self) -> None:
        tissue, fields, near = self.tissue, self.nearby.distances, self.nearby.near
        spongy = MODIOLUS_SHARE * tissue.capsule + (1 - MODIOLUS_SHARE) * tissue.nerve
        spongy = spongy + tissue.trabecular_variation * self.noise[0, near]
        self.paint(near, self.coverage(torch.maximum(fields.modiolus, -fields.union)), spongy)
        for nerve in self.bodies.canal_nerves[:1]:
            self.paint_body(nerve, tissue.nerve)
        self.paint(near, self.coverage(fields.aqueducts), tissue.cerebrospinal)
        fluid = torch.full((len(near),), tissue.fluid, device=near.device)
        if tissue.state in ("embalmed", "embedded"):
            fluid = self._with_bubbles(near, fluid)
        if self.parameters.lumen_foci:
            grain = self._texture(self.turned[near], GRAIN_PERIOD_MM)
            for focus in self.parameters.lumen_foci:
                fluid = fluid + self._within_focus(focus, near, grain) * (focus.hounsfield - fluid)
        self.paint(near, self.coverage(fields.union), fluid)
        self.paint(near, self.coverage(fields.bone_within), 0.75 * tissue.capsule)

    # Ossicles and membranes

    def _paint_ossicles(self) -> None:
        bodies, tissue = self.bodies, self.tissue
        prepared = tissue.state == "dry"
        if not prepared:
            self.paint_disc(bodies.eardrum, tissue.mucosa)
            self.paint_disc(bodies.membrane, tissue.mucosa)
        keep_out = -self.from_lumen
        for ossicle in bodies.ossicles:
            self.paint_body(ossicle, tissue.ossicle, keep_out)
        for strut, radius in zip(bodies.stapes_struts, (CRUS_RADIUS_MM, CRUS_RADIUS_MM, 0.42), strict=False):
            self.paint_strut(strut, radius, tissue.ossicle)
        if bodies.stapes_struts:
            self.paint_disc(bodies.footplate, 0.8 * tissue.ossicle)
