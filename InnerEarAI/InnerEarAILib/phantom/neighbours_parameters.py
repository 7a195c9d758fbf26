"""Where the neighbours of the labyrinth lie and how large they are: figures, and how they are drawn at random.

Positions are mm from the centre of the oval window in the frame of a right ear (lateral -x, posterior +y, superior +z).
The means were read off two dissected temporal bones and one clinical scan; the spreads are ours and deliberately wide,
since a network must meet more than the ordinary ear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.spatial.transform import Rotation

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class CavityParameters:
    """An ellipsoid along the axes of the frame: centre from the oval window and half axes, mm."""

    centre: Vector
    radii: Vector


@dataclass(frozen=True)
class CourseParameters:
    """A tube: nodes from the oval window and the radius at each, mm."""

    nodes: tuple[Vector, ...]
    radii: tuple[float, ...]


@dataclass(frozen=True)
class BoneParameters:
    """The surfaces of the petrous and mastoid bone and what fills it; positions from the vestibule's centre, mm.

    Attributes:
        pyramid_angle: between the petrous axis and the transverse axis, degrees.
        tegmen_height: roof of the middle ear (floor of the middle cranial fossa) above the vestibule.
        eminence: place (x, y) and height of the arcuate eminence above the roof.
        fossa_floor: height of the floor of the middle fossa in front of the pyramid.
        anterior_edge: where the roof falls towards that floor (y).
        posterior_offset: of the posterior surface from the vestibule, across the pyramid.
        lateral_edge, medial_edge: x of the mastoid's outer surface and of the tip of the petrous apex.
        base_height: height of the skull base under the ear.
        mastoid_length: of the mastoid process below the skull base.
        roughness, undulation: SD of the surfaces' irregularity over millimetres and over centimetres.
        cortex_thickness: of the compact shell round marrow and cells.
        capsule_thickness: of the otic capsule.
        shell_thickness: least bone over the labyrinth where the petrous surface would expose it.
        marrow_share: how much of the bone away from the capsule is marrow bone, 0 to 1.
        marrow_period: scale of its trabeculae; their mean distance is about period / 7.5.
        mastoid_pneumatisation, perilabyrinthine_pneumatisation, apex_pneumatisation: 0 sclerotic, 1 full, above 1
            hyper-pneumatised.
        cell_period: scale of the air cells; their mean size is about period / 7.5.
        cell_wall: half thickness of their walls.
        cell_margin: least distance of air cells from the labyrinth.
        filled_cells: share of the cells that hold mucosa or fluid instead of air, 0 to 1.
    """

    pyramid_angle: float = 38.0
    tegmen_height: float = 8.0
    eminence: Vector = (-2.0, 1.0, 1.0)
    fossa_floor: float = -6.0
    anterior_edge: float = -5.0
    posterior_offset: float = 8.5
    lateral_edge: float = -24.5
    medial_edge: float = 31.0
    base_height: float = -15.0
    mastoid_length: float = 12.0
    roughness: float = 0.35
    undulation: float = 0.7
    cortex_thickness: float = 1.2
    capsule_thickness: float = 2.0
    shell_thickness: float = 0.8
    marrow_share: float = 0.7
    marrow_period: float = 11.0
    mastoid_pneumatisation: float = 0.9
    perilabyrinthine_pneumatisation: float = 0.4
    apex_pneumatisation: float = 0.2
    cell_period: float = 22.0
    cell_wall: float = 0.15
    cell_margin: float = 1.2
    filled_cells: float = 0.03


@dataclass(frozen=True)
class NeighbourParameters:
    """Everything round one labyrinth.

    Attributes:
        bone: surfaces and contents of the temporal bone.
        cavities: middle-ear spaces by name.
        courses: canals, vessels, ossicle nodes by name.
        posture: rotation of the neighbourhood against the labyrinth (rotation vector, degrees).
        canal_length: internal auditory canal, fundus to porus, mm.
        canal_direction: its axis, medially.
        canal_radius: mm at mid-length.
        footplate_thickness: stapes footplate, mm.
        membrane_thickness: round window membrane, mm.
        promontory_thickness: least bone between middle ear and cochlea, mm.
        facial_wall: thickness of the bony wall of the facial canal, mm; 0 for a dehiscent one.
        effusion_level: the cavities hold fluid where the height along `effusion_up` is below it, mm; -99 for none.
        effusion_up: unit vector against gravity as the fluid stood.
    """

    bone: BoneParameters = field(default_factory=BoneParameters)
    cavities: Mapping[str, CavityParameters] = field(default_factory=dict)
    courses: Mapping[str, CourseParameters] = field(default_factory=dict)
    posture: Vector = (0.0, 0.0, 0.0)
    canal_length: float = 11.0
    canal_direction: Vector = (1.0, 0.1, 0.05)
    canal_radius: float = 2.4
    footplate_thickness: float = 0.3
    membrane_thickness: float = 0.15
    promontory_thickness: float = 1.1
    facial_wall: float = 0.35
    effusion_level: float = -99.0
    effusion_up: Vector = (0.0, -1.0, 0.0)


CAVITIES: Mapping[str, tuple[Vector, Vector]] = {
    "mesotympanum": ((-3.3, -1.8, -1.5), (2.5, 4.6, 4.6)),
    "epitympanum": ((-5.0, -2.2, 3.6), (2.9, 4.2, 3.2)),
    "hypotympanum": ((-3.4, -2.2, -6.0), (2.7, 3.8, 2.6)),
    "sinus tympani": ((-1.4, 2.2, -1.4), (1.0, 1.9, 1.7)),
    "facial recess": ((-4.8, 2.0, -0.2), (1.1, 1.6, 1.9)),
    "antrum": ((-8.5, 7.0, 4.0), (3.2, 4.4, 3.6)),
}
"""Middle-ear spaces: centre and half axes, mm."""

COURSES: Mapping[str, tuple[tuple[Vector, ...], tuple[float, ...]]] = {
    "aditus": (((-5.6, -0.5, 3.8), (-6.8, 3.5, 4.2), (-8.4, 7.0, 4.0)), (2.2, 1.8, 2.4)),
    "auditory tube": (
        ((-2.8, -5.0, -2.0), (0.2, -9.0, -3.6), (5.0, -14.5, -6.0), (12.0, -22.0, -11.0)),
        (2.2, 1.5, 1.0, 0.7),
    ),
    "ear canal": (
        ((-6.2, -2.6, -3.2), (-10.5, -2.6, -4.4), (-17.0, -2.6, -5.4), (-30.0, -2.0, -6.5)),
        (3.8, 3.6, 3.7, 3.6),
    ),
    "facial canal": (
        (
            (2.3, -4.2, 3.5),
            (-0.2, -2.6, 2.5),
            (-2.4, -0.2, 1.5),
            (-4.0, 1.7, 0.5),
            (-4.8, 2.9, -1.2),
            (-5.4, 3.7, -4.0),
            (-5.9, 3.8, -8.0),
            (-6.5, 3.4, -15.0),
            (-8.5, 0.5, -22.0),
        ),
        (0.85, 0.65, 0.65, 0.7, 0.75, 0.75, 0.8, 0.95, 1.0),
    ),
    "carotid": (
        (
            (9.5, -4.5, -24.0),
            (9.2, -5.6, -14.0),
            (8.3, -6.2, -8.5),
            (9.0, -7.6, -5.0),
            (13.0, -10.8, -3.2),
            (19.0, -15.5, -1.5),
            (23.0, -16.0, 3.0),
        ),
        (2.6, 2.6, 2.6, 2.6, 2.5, 2.3, 2.2),
    ),
    "jugular": (
        (
            (4.5, 4.5, -26.0),
            (3.8, 4.8, -17.0),
            (3.0, 4.6, -12.5),
            (-1.0, 8.0, -15.0),
            (-8.0, 13.0, -14.0),
            (-14.0, 17.0, -7.0),
            (-16.0, 18.5, 2.0),
            (-18.0, 26.0, 9.0),
            (-14.0, 40.0, 11.0),
        ),
        (4.2, 4.2, 4.0, 3.6, 3.8, 4.0, 3.9, 3.7, 3.6),
    ),
    "tensor tympani": (((2.5, -11.0, -2.0), (-0.8, -4.6, 0.4), (-3.6, -3.4, 0.2)), (0.8, 0.7, 0.25)),
    "styloid": (((-6.5, -0.5, -17.0), (-5.0, -4.5, -27.0), (-3.0, -10.0, -40.0)), (2.6, 1.8, 1.0)),
    "malleus": (((-5.0, -4.2, 3.2), (-5.0, -3.6, 1.2), (-5.4, -3.1, -0.6), (-4.4, -2.5, -3.0)), (1.15, 0.6, 0.5, 0.35)),
    "incus": (((-5.4, -2.8, 2.9), (-6.0, -1.4, 3.0), (-6.6, 1.0, 2.4)), (1.15, 1.3, 0.5)),
    "incus long process": (((-6.0, -1.6, 2.6), (-5.2, -1.0, 0.6), (-4.1, -0.9, -0.4)), (0.8, 0.45, 0.35)),
    "condyle": (((-17.0, -16.0, -13.0), (-8.0, -18.5, -13.0)), (4.0, 3.6)),
    "condyle neck": (((-12.5, -17.0, -15.0), (-13.0, -16.0, -32.0), (-14.0, -12.0, -50.0)), (3.6, 4.0, 5.0)),
}
"""Canals, vessels and ossicles: nodes and radii, mm."""

POSITION_SPREAD = {"near": 0.6, "far": 1.3}
"""SD of a body's shift along each axis, mm; the ossicles shift together."""

_FAR = {"carotid", "jugular", "condyle", "condyle neck", "ear canal", "styloid"}
_OSSICLES = {"malleus", "incus", "incus long process", "tensor tympani"}


def sample_neighbour_parameters(
    rng: np.random.Generator,
    midline_distance: float = 41.0,
    skull_half_width: float = 66.0,
    canal_top: Vector = (-2.0, 1.0, 8.3),
) -> NeighbourParameters:
    """Draws a neighbourhood.

    Args:
        rng: source of randomness.
        midline_distance: of the vestibule from the midsagittal plane, mm.
        skull_half_width: of the head at the level of the ears, mm; the mastoid reaches it.
        canal_top: highest point of the superior canal's wall from the vestibule, mm; the tegmen lies near it.
    """
    posture = rng.normal(0, (5.0, 4.0, 5.0))
    turn = Rotation.from_rotvec(posture, degrees=True)
    spread = rng.uniform(0.5, 1.6)
    aeration = float(np.clip(rng.normal(0.95, 0.45), 0.0, 1.6))
    effused = rng.random()
    level = -99.0 if effused < 0.8 else rng.uniform(-9, 12)
    up = rng.normal(size=3) * (0.4, 0.4, 0.4) + (0.0, -1.0, 0.2)
    cavities = {
        name: CavityParameters(
            _vector(turn.apply(np.add(centre, rng.normal(0, POSITION_SPREAD["near"] * spread, 3)))),
            _vector(np.multiply(radii, 1.15 * np.exp(rng.normal(0, 0.16, 3)) * np.exp(rng.normal(0, 0.14)))),
        )
        for name, (centre, radii) in CAVITIES.items()
    }
    ossicle_shift = rng.normal(0, POSITION_SPREAD["near"], 3)
    bone = _sample_bone(rng, aeration, midline_distance, skull_half_width, canal_top)
    courses = {name: _course(rng, name, turn, spread, ossicle_shift) for name in COURSES}
    courses["jugular"] = _along_posterior_surface(courses["jugular"], bone, rng.uniform(-1.5, 2.5))
    return NeighbourParameters(
        bone=bone,
        cavities=cavities,
        courses=courses,
        posture=_vector(posture),
        canal_length=float(np.clip(rng.normal(11.0, 1.3), 7.5, 15.0)),
        canal_direction=_vector(_unit(np.array([1.0, 0.06, 0.06]) + rng.normal(0, (0.0, 0.14, 0.09)))),
        canal_radius=float(np.clip(rng.normal(2.3, 0.5), 1.2, 4.0)),
        footplate_thickness=rng.uniform(0.2, 0.45),
        membrane_thickness=rng.uniform(0.08, 0.25),
        promontory_thickness=rng.uniform(0.7, 1.7),
        facial_wall=0.0 if rng.random() < 0.15 else rng.uniform(0.2, 0.6),
        effusion_level=level,
        effusion_up=_vector(_unit(up)),
    )


def _sample_bone(
    rng: np.random.Generator, aeration: float, midline_distance: float, skull_half_width: float, canal_top: Vector
) -> BoneParameters:
    # A stream of its own: what a seed draws after the bone stays as it is.
    (detail,) = rng.spawn(1)
    tegmen = canal_top[2] + rng.normal(-0.4, 1.4)
    return BoneParameters(
        pyramid_angle=rng.normal(38, 4.5),
        tegmen_height=tegmen,
        eminence=(canal_top[0], canal_top[1], max(0.0, canal_top[2] - tegmen) * rng.uniform(0.5, 1.1)),
        fossa_floor=rng.normal(-6, 1.8),
        anterior_edge=rng.normal(-5.5, 1.2),
        posterior_offset=rng.normal(8.8, 1.3),
        lateral_edge=float(np.clip(midline_distance - skull_half_width + rng.normal(0, 1.2), -32, -19)),
        medial_edge=midline_distance - rng.uniform(5, 11),
        base_height=rng.normal(-15, 1.8),
        mastoid_length=rng.uniform(6, 18),
        roughness=rng.uniform(0.05, 0.45),
        cortex_thickness=rng.uniform(0.6, 2.2),
        capsule_thickness=rng.uniform(1.2, 2.8),
        shell_thickness=rng.uniform(0.45, 1.4),
        marrow_share=rng.uniform(0.1, 1.0),
        mastoid_pneumatisation=aeration,
        perilabyrinthine_pneumatisation=float(np.clip(aeration * rng.uniform(0.2, 1.15), 0, 1.4)),
        apex_pneumatisation=float(np.clip(aeration * rng.uniform(-0.4, 1.2), 0, 1.3)),
        cell_period=rng.uniform(12, 30),
        cell_wall=rng.uniform(0.08, 0.24),
        cell_margin=rng.uniform(0.5, 2.2),
        undulation=detail.uniform(0.3, 1.0),
        marrow_period=detail.uniform(8.5, 14.0),
        filled_cells=detail.uniform(0.0, 0.06) if detail.random() < 0.85 else detail.uniform(0.1, 0.9),
    )


def _course(
    rng: np.random.Generator, name: str, turn: Rotation, spread: float, ossicle_shift: np.ndarray
) -> CourseParameters:
    nodes, radii = (np.asarray(values, float) for values in COURSES[name])
    if name in _OSSICLES:
        shift, wobble, swelling = ossicle_shift, 0.12, 0.1
    elif name in _FAR:
        shift, wobble, swelling = rng.normal(0, POSITION_SPREAD["far"] * spread, 3), 0.6, 0.18
    else:
        shift, wobble, swelling = rng.normal(0, 0.6 * POSITION_SPREAD["near"] * spread, 3), 0.3, 0.14
    placed = turn.apply(nodes + shift + rng.normal(0, wobble, nodes.shape))
    widths = radii * np.exp(rng.normal(0, swelling) + rng.normal(0, 0.4 * swelling, len(radii)))
    return CourseParameters(tuple(_vector(node) for node in placed), tuple(float(width) for width in widths))


def _along_posterior_surface(sinus: CourseParameters, bone: BoneParameters, depth: float) -> CourseParameters:
    """The sigmoid sinus in its groove: its upper nodes moved across the pyramid to the bone's posterior surface."""
    angle = np.deg2rad(bone.pyramid_angle)
    across = np.array([np.sin(angle), np.cos(angle), 0.0])
    nodes = np.array(sinus.nodes)
    for index in range(4, len(nodes)):
        target = bone.posterior_offset - 0.15 * nodes[index, 2] + depth
        nodes[index] += (target - nodes[index] @ across) * across
    return CourseParameters(tuple(_vector(node) for node in nodes), sinus.radii)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _vector(values: np.ndarray) -> Vector:
    return tuple(float(value) for value in values)
