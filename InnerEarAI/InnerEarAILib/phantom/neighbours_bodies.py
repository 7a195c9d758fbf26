"""The bodies round one labyrinth, placed: middle ear, ossicles, canals and vessels in the frame of the ear."""

from __future__ import annotations

import numpy as np

from InnerEarAILib.phantom.labyrinth import LabyrinthFrames, Window
from InnerEarAILib.phantom.neighbours_parameters import CourseParameters, NeighbourParameters
from InnerEarAILib.phantom.neighbours_shapes import Disc, Ellipsoid, Tube, frame_of

CRUS_RADIUS_MM = 0.19
STAPES_HEIGHT_MM = 3.3
"""Footplate to head; textbook value."""

NERVE_RADII_MM = {"cochlear": 0.85, "superior vestibular": 0.3, "inferior vestibular": 0.3, "facial": 0.5}
"""Bony canals of the nerves beyond the fundus; that of the cochlear nerve is 1.4–2.2 mm across in textbooks."""

RIM_MM = 0.2
"""How far footplate and membrane reach under the rim of their window, so that nothing leaks round them."""

EARDRUM_RADII_MM = (4.6, 4.1)
EARDRUM_HALF_THICKNESS_MM = 0.06


class NeighbourBodies:
    """The bodies that parameters and a labyrinth's own landmarks make together.

    Attributes:
        cavities: air spaces of the middle ear.
        niches: air spaces in front of the oval and the round window.
        ear_canal, facial, carotid, jugular, tensor, styloid, condyle, condyle_neck: tubes by name.
        canal: internal auditory canal, fundus to beyond the porus.
        canal_nerves: nerves within it, on to the modiolus and the vestibule.
        ossicles: malleus and incus.
        stapes_struts: crura and head.
        footplate, membrane, eardrum: plates.
    """

    def __init__(self, frames: LabyrinthFrames, parameters: NeighbourParameters) -> None:
        self.frames = frames
        self.oval_axes = _window_axes(frames.oval_window)
        self.parameters = parameters
        origin = frames.oval_window.centre
        course = {name: _tube(figures, origin) for name, figures in parameters.courses.items()}
        self.cavities = [
            *(Ellipsoid(origin + figures.centre, np.array(figures.radii)) for figures in parameters.cavities.values()),
            course["aditus"],
            course["auditory tube"],
        ]
        self.ear_canal = course["ear canal"]
        self.facial = course["facial canal"]
        self.carotid = course["carotid"]
        self.jugular = course["jugular"]
        self.tensor = course["tensor tympani"]
        self.styloid = course["styloid"]
        self.condyle = course["condyle"]
        self.condyle_neck = course["condyle neck"]
        self.niches = self._niches()
        self.canal, self.canal_nerves = self._internal_canal()
        self.footplate = Disc(
            frames.oval_window.centre + 0.5 * parameters.footplate_thickness * frames.oval_window.normal,
            self.oval_axes,
            np.array(frames.oval_window.half_axes_mm) + RIM_MM,
            0.5 * parameters.footplate_thickness,
        )
        self.membrane = Disc(
            frames.round_window.centre + 0.5 * parameters.membrane_thickness * frames.round_window.normal,
            _window_axes(frames.round_window),
            np.array(frames.round_window.half_axes_mm) + RIM_MM,
            0.5 * parameters.membrane_thickness,
        )
        self.stapes_struts = self._stapes()
        self.ossicles = [course[name] for name in ("malleus", "incus", "incus long process")]
        self.eardrum = self._eardrum()

    def _niches(self) -> list[Ellipsoid | Tube]:
        oval, round_window = self.frames.oval_window, self.frames.round_window
        before_oval = Ellipsoid(
            oval.centre + 0.9 * oval.normal,
            np.array([*(1.25 * np.array(oval.half_axes_mm) + 0.15), 2.2]),
            self.oval_axes,
        )
        cavity = oval.centre + np.array(self.parameters.cavities["mesotympanum"].centre)
        middle = round_window.centre + 1.5 * round_window.normal
        radius = float(np.mean(round_window.half_axes_mm))
        course = [round_window.centre - 0.2 * round_window.normal, middle, middle + 0.6 * (cavity - middle)]
        return [before_oval, Tube.of(course, [radius, 1.1 * radius, 1.3])]

    def _internal_canal(self) -> tuple[Tube, list[Tube]]:
        frames, parameters = self.frames, self.parameters
        direction = np.array(parameters.canal_direction)
        gates = np.stack(list(frames.fundus.values()))
        centre = gates.mean(0)
        # The tube's round end must not reach beyond the fundus.
        fundus = centre + direction * (0.7 * parameters.canal_radius)
        steps = np.array([0.0, 0.25, 0.6, 1.0, 1.35, 1.8])
        widths = parameters.canal_radius * np.array([0.8, 0.95, 1.0, 1.1, 1.4, 1.9])
        canal = Tube.of(fundus + np.outer(steps * parameters.canal_length, direction), widths)
        stem = fundus + direction * parameters.canal_length * 1.7 + np.array([0.0, 1.0, -1.0])
        lift = 0.4 * parameters.canal_radius
        offsets = {
            "cochlear": (0, -lift, -lift),
            "superior vestibular": (0, lift, lift),
            "inferior vestibular": (0, lift, -lift),
            "facial": (0, -lift, lift),
        }
        nerves = []
        for name, offset in offsets.items():
            gate = frames.fundus[name]
            radius = NERVE_RADII_MM[name]
            course = [gate, fundus + offset, stem]
            if name == "facial":
                course.insert(0, self.facial.nodes[0])
            nerves.append(Tube.of(course, [radius] * (len(course) - 2) + [0.45, 0.55]))
        return canal, nerves

    def _stapes(self) -> list[Tube]:
        window = self.frames.oval_window
        long_axis, _, normal = self.oval_axes
        foot = window.centre + 0.5 * self.parameters.footplate_thickness * normal
        head = foot + STAPES_HEIGHT_MM * normal
        reach = 0.72 * window.half_axes_mm[0]
        crura = [
            Tube.of(
                [
                    foot + sign * reach * long_axis,
                    foot + 1.6 * normal + sign * 0.8 * reach * long_axis,
                    head - 0.4 * normal,
                ],
                CRUS_RADIUS_MM,
            )
            for sign in (-1, 1)
        ]
        return [*crura, Tube.of([head - 0.4 * normal, head + 0.3 * normal], 0.42)]

    def _eardrum(self) -> Disc:
        centre, outward = self.ear_canal.nodes[0], self.ear_canal.nodes[1] - self.ear_canal.nodes[0]
        normal = outward / np.linalg.norm(outward) + np.array([0.0, -0.35, -0.55])
        return Disc(
            centre,
            frame_of(normal, np.array([0.0, 0.0, 1.0])),
            np.array(EARDRUM_RADII_MM),
            EARDRUM_HALF_THICKNESS_MM,
            -1.6,
        )


def _window_axes(window: Window) -> np.ndarray:
    """Rows: long axis, short axis, outward normal."""
    return frame_of(window.normal, window.long_axis)


def _tube(figures: CourseParameters, origin: np.ndarray) -> Tube:
    rounds = 1 if len(figures.nodes) > 3 else 0
    return Tube.of(origin + np.array(figures.nodes), list(figures.radii)).smoothed(rounds)
