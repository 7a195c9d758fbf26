"""The painting of a temporal bone, layer by layer from background to foreground.

On the bone (bone_painting): middle ear, vessels, nerves, labyrinth, ossicles and membranes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from InnerEarAILib.phantom.bone_painting import GRAIN_PERIOD_MM, BonePainter
from InnerEarAILib.phantom.canvas import Body
from InnerEarAILib.phantom.neighbours_bodies import CRUS_RADIUS_MM
from InnerEarAILib.phantom.neighbours_shapes import Tube

MODIOLUS_SHARE = 0.5
"""Share of bone in the modiolus, the rest being nerve and vessels; ours, by the look of it in CT."""

LEAST_WALL_MM = 0.3
"""Bone that is left between the labyrinth and any canal, vessel or nerve."""

VESSEL_UNEVENNESS = 0.14
"""SD of a vessel's radius along its course and round it, as a share of the radius; ours, by the look of it in CT."""

VESSEL_WALL_MM = 0.6
"""Compact bone round a vessel that runs through marrow or cells; ours."""


class TemporalBonePainter(BonePainter):
    """Paints one temporal bone over what lies behind it, at points within its reach; arguments as BonePainter."""

    def painted(self) -> Tensor:
        """CT numbers (n,)."""
        self.paint_bone()
        self._paint_middle_ear()
        self._paint_vessels_and_nerves()
        if self.nearby.distances is not None:
            self._paint_labyrinth()
        self._paint_ossicles()
        return self.hounsfield

    # Middle ear

    def _paint_cavity(self, body: Body, keep_out: Tensor) -> None:
        index, distance = self.reached(body, 1.5 + self.edge_mm)
        if len(index):
            rough = distance + 0.5 * self.noise[2, index]
            self.paint(index, self.coverage(torch.maximum(rough, keep_out[index])), self.cavity_filling(index))

    def _paint_middle_ear(self) -> None:
        bodies = self.bodies
        self._paint_walled(bodies.ear_canal, 1.5)
        promontory = self.figures.promontory_thickness * (1 + 0.2 * self.noise[0]) - self.from_capsule
        for cavity in bodies.cavities:
            self._paint_cavity(cavity, torch.maximum(promontory, self.solid - 6))
        self.paint_body(bodies.ear_canal, self.tissue.air)
        for niche in bodies.niches:
            index, distance = self.reached(niche, self.edge_mm)
            if len(index):
                self.paint(index, self.coverage(distance), self.cavity_filling(index))

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
        self._paint_vessel(bodies.carotid, keep_out)
        self._paint_vessel(bodies.jugular, keep_out)
        self.paint_body(bodies.styloid, tissue.cortex)
        self._paint_joint()
        self.paint_body(bodies.tensor, tissue.muscle, keep_out)
        if self.figures.facial_wall > 0:
            self._paint_plated(bodies.facial, self.figures.facial_wall)
        self.paint_body(bodies.facial, tissue.nerve, keep_out)
        self.paint_body(bodies.canal, tissue.cerebrospinal, keep_out)
        for nerve in bodies.canal_nerves:
            self.paint_body(nerve, tissue.nerve)

    def _paint_vessel(self, vessel: Tube, keep_out: Tensor) -> None:
        """Paints a vessel whose bony canal is neither round nor even, with the compact bone round it."""
        uneven = VESSEL_UNEVENNESS * float(vessel.radii.mean())
        index, distance = self.reached(vessel, VESSEL_WALL_MM + 3 * uneven + self.edge_mm)
        if len(index):
            distance = distance + uneven * self.undulation(self.turned[index])[0]
            walled = torch.maximum(distance - VESSEL_WALL_MM, self.solid[index])
            self.paint(index, self.coverage(walled), self.tissue.cortex)
            self.paint(index, self.coverage(torch.maximum(distance, keep_out[index])), self.tissue.blood)

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
            fluid = self.with_bubbles(near, fluid)
        if self.parameters.lumen_foci:
            grain = self.texture(self.turned[near], GRAIN_PERIOD_MM)
            for focus in self.parameters.lumen_foci:
                fluid = fluid + self.within_focus(focus, near, grain) * (focus.hounsfield - fluid)
        self.paint(near, self.coverage(fields.union), fluid)
        half_mm = self.lamina_mm / 2
        self.paint(near, self.plate_coverage(fields.bone_within + half_mm, half_mm), 0.75 * tissue.capsule)

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
        for strut, radius in zip(bodies.stapes_struts, (CRUS_RADIUS_MM, CRUS_RADIUS_MM, 0.42), strict=True):
            self.paint_strut(strut, radius, tissue.ossicle)
        self.paint_disc(bodies.footplate, 0.8 * tissue.ossicle)
