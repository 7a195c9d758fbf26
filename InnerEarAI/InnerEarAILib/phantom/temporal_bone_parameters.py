"""The figures of one temporal bone: its neighbourhood, tissues, disease and cut; and how they are drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from InnerEarAILib.phantom.head_surroundings import SurroundingsParameters, sample_surroundings
from InnerEarAILib.phantom.labyrinth import LabyrinthFrames
from InnerEarAILib.phantom.labyrinth_parameters import VARIANTS as LABYRINTH_VARIANTS
from InnerEarAILib.phantom.neighbours_parameters import NeighbourParameters, Vector, sample_neighbour_parameters
from InnerEarAILib.phantom.tissue import State, TissueParameters, sample_tissue

Disease = Literal["otosclerosis", "fibrosis", "ossification"]
DISEASES: tuple[Disease, ...] = get_args(Disease)

VARIANTS: tuple[str, ...] = (*LABYRINTH_VARIANTS, *DISEASES)
"""What sample_temporal_bone can be asked for: malformations of the labyrinth and diseases of its bone or lumen."""

DEHISCENT = "dehiscent_superior_canal"

TEXTURE_SHIFT_MM = 200.0
"""Range of where the textures begin: many of their periods, each of another length."""


@dataclass(frozen=True)
class FocusParameters:
    """A ball in which the tissue is diseased: centre in the ear's frame, radius, mm, and the CT number it takes, HU."""

    centre: Vector
    radius: float
    hounsfield: float


@dataclass(frozen=True)
class TemporalBoneParameters:
    """Everything of a temporal bone but its labyrinth.

    Attributes:
        neighbours: what lies round the labyrinth.
        surroundings: the head beyond.
        tissue: CT numbers.
        bone_foci: otosclerotic foci in the capsule.
        lumen_foci: where the lumen is filled by fibrous tissue or bone; the label stays.
        dehiscent: whether the superior canal lacks its roof.
        block: cut planes of an isolated specimen (normal and offset in mm from the vestibule); empty for a whole head.
        place: of the vestibule in the head's frame (midsagittal plane x = 0), mm.
        noise_seed: of the textures.
        texture_shift: where the textures begin, mm: there are few of them, and no two bones show the same at one place.
    """

    neighbours: NeighbourParameters = field(default_factory=NeighbourParameters)
    surroundings: SurroundingsParameters = field(default_factory=SurroundingsParameters)
    tissue: TissueParameters = field(default_factory=TissueParameters)
    bone_foci: tuple[FocusParameters, ...] = ()
    lumen_foci: tuple[FocusParameters, ...] = ()
    dehiscent: bool = False
    block: tuple[tuple[Vector, float], ...] = ()
    place: Vector = (-41.0, 0.0, 0.0)
    noise_seed: int = 0
    texture_shift: Vector = (0.0, 0.0, 0.0)


def sample_temporal_bone_parameters(
    rng: np.random.Generator,
    variant: str,
    state: State,
    frames: LabyrinthFrames,
    surroundings: SurroundingsParameters | None = None,
) -> TemporalBoneParameters:
    """Draws what surrounds a labyrinth.

    Args:
        rng: source of randomness.
        variant: one of VARIANTS; those of the labyrinth alone change nothing here, except the dehiscent canal.
        state: how the specimen was kept; all but "fresh" are isolated specimens.
        frames: of the labyrinth, whose windows and cochlea the diseases settle at.
        surroundings: the head, if there is one already.
    """
    oval_window, round_window = frames.oval_window.centre, frames.round_window.centre
    tissue = sample_tissue(rng, state)
    bone_foci: list[FocusParameters] = []
    lumen_foci: list[FocusParameters] = []
    if variant == "otosclerosis":
        before_window = oval_window + np.array([0.6, -2.0, 0.5]) + rng.normal(0, 0.4, 3)
        bone_foci.append(_focus(before_window, rng.uniform(1.3, 2.6), rng.uniform(500, 1400)))
        for _ in range(rng.integers(0, 5)):
            place = frames.cochlear_base + rng.normal(0, 2.5, 3) + np.array([-0.5, -2.0, 0.0])
            bone_foci.append(_focus(place, rng.uniform(0.8, 2.0), rng.uniform(600, 1500)))
    elif variant in ("fibrosis", "ossification"):
        low, high = (90, 320) if variant == "fibrosis" else (700, 1900)
        lumen_foci.append(_focus(round_window + rng.normal(0, 0.6, 3), rng.uniform(1.5, 4.5), rng.uniform(low, high)))
        for _ in range(rng.integers(0, 3)):
            lumen_foci.append(_focus(rng.normal(0, 4.0, 3), rng.uniform(1.0, 3.0), rng.uniform(low, high)))
    isolated = state != "fresh" or rng.random() < 0.12
    surroundings = surroundings or sample_surroundings(rng)
    midline_distance = float(np.clip(rng.normal(41.0, 3.0), 34.0, 48.0))
    half_width = 0.94 * surroundings.vault_radii[0] + 0.5 * surroundings.skull_thickness
    superior = frames.canal_centrelines["anterior"]
    x, y, z = superior[np.argmax(superior[:, 2])].tolist()
    canal_top = (x, y, z + 0.6)
    neighbours = sample_neighbour_parameters(rng, midline_distance, half_width, canal_top)
    if variant == DEHISCENT:
        lowered = replace(neighbours.bone, tegmen_height=canal_top[2] - rng.uniform(0.2, 1.2), eminence=(x, y, 0.0))
        neighbours = replace(neighbours, bone=lowered)
    return TemporalBoneParameters(
        neighbours=neighbours,
        surroundings=surroundings,
        tissue=tissue,
        bone_foci=tuple(bone_foci),
        lumen_foci=tuple(lumen_foci),
        dehiscent=variant == DEHISCENT,
        block=_sample_block(rng) if isolated else (),
        place=(-midline_distance, rng.normal(0, 3.0), rng.normal(0, 3.0)),
        noise_seed=int(rng.integers(64)),
        texture_shift=tuple(rng.spawn(1)[0].uniform(0, TEXTURE_SHIFT_MM, 3).tolist()),
    )


def _sample_block(rng: np.random.Generator) -> tuple[tuple[Vector, float], ...]:
    planes = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            normal = rng.normal(0, 0.2, 3)
            normal[axis] = sign
            normal /= np.linalg.norm(normal)
            planes.append((tuple(float(n) for n in normal), float(rng.uniform(13, 38))))
    return tuple(planes)


def _focus(centre: np.ndarray, radius: float, hounsfield: float) -> FocusParameters:
    return FocusParameters(tuple(float(c) for c in centre), float(radius), float(hounsfield))
