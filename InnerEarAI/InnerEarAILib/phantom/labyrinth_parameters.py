"""What makes one labyrinth differ from another: its parameters, and how they vary between people.

Frame of every position and direction: right ear, LPS axes (x to the patient's left, so lateral is -x; y posterior; z
superior), mm, origin at the centre of the vestibule of the mean labyrinth.

Means come from the morphometry of 48 labyrinth surfaces from clinical CT (188 ± 24 mm³); means and spreads were then
set so that what is measured on drawn labyrinths agrees with the published figures that the tests list (cochlea:
PMC6449142; distances between landmarks: Stebani et al. 2023; canals: 71 surfaces from clinical CT).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from InnerEarAILib.phantom.labyrinth_malformations import (
    CANAL_NAMES,
    WHOLE,
    WITH_CAVITIES,
    Malformation,
    sample_malformation,
)

VARIANTS = (
    "normal",
    "incomplete_partition",
    "enlarged_vestibular_aqueduct",
    "dehiscent_superior_canal",
    *WITH_CAVITIES,
)
"""Anatomies that can be drawn: the normal one, two malformations, one with no bone over the superior canal, and the
malformations that lack whole parts."""


@dataclass(frozen=True)
class CochleaParameters:
    """The cochlea.

    Attributes:
        scale: size relative to the mean, on top of the labyrinth's own size.
        turns: from the round window to the helicotrema.
        spiral_radius_mm: radius of the centreline of the spiral extrapolated to the round window.
        spiral_decay: the centreline's radius falls as exp(-decay · angle), angle in radians.
        rise_mm: height gained along the modiolar axis per radian.
        lumen_scale: width of the lumen relative to the mean.
        apical_taper: width of the lumen at the apex relative to the mean, on top of lumen_scale.
        axis_tilt_deg: rotation of the modiolar axis about two directions across it.
        roll_deg: rotation of the cochlea about its axis.
        offset_mm: shift of its centre against the vestibule.
        hook_mm: how far the basal end of the spiral leaves the spiral outwards.
        lamina_thickness_mm: osseous spiral lamina.
        partition_turns: turns from the round window over which septum and lamina are whole; beyond them the
            lumen is one cavity (incomplete partition). The number of turns or more: normal.
    """

    scale: float = 1.0
    turns: float = 2.6
    spiral_radius_mm: float = 3.39
    spiral_decay: float = 0.1246
    rise_mm: float = 0.195
    lumen_scale: float = 1.0
    apical_taper: float = 1.0
    axis_tilt_deg: tuple[float, float] = (0.0, 0.0)
    roll_deg: float = 0.0
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hook_mm: float = 0.98
    lamina_thickness_mm: float = 0.15
    partition_turns: float = 4.0


@dataclass(frozen=True)
class CanalParameters:
    """One semicircular canal.

    Attributes:
        radius_scale: radius of the canal relative to the mean, on top of the labyrinth's size.
        lumen_scale: width of its lumen relative to the mean.
        ampulla_scale: width of its ampulla relative to the mean, on top of lumen_scale.
        tilt_deg: rotation of its plane about two directions in the plane.
        offset_mm: shift of its centre.
        ellipticity: radius grows by this share along the canal's first direction and shrinks across it.
        twist: departure from the plane relative to the mean.
    """

    radius_scale: float = 1.0
    lumen_scale: float = 1.0
    ampulla_scale: float = 1.0
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ellipticity: float = 0.0
    twist: float = 1.0


@dataclass(frozen=True)
class LabyrinthParameters:
    """A labyrinth. The default is the mean one.

    Attributes:
        variant: one of VARIANTS.
        size: linear size relative to the mean.
        cochlea: see CochleaParameters.
        canals: see CanalParameters, in the order of CANAL_NAMES.
        vestibule_scale: width of the vestibule along x, y, z relative to the mean.
        vestibule_bulge: width of each of its recesses relative to the mean.
        vestibular_aqueduct_mm: diameter of the vestibular aqueduct.
        cochlear_aqueduct_mm: diameter of the cochlear aqueduct's inner part.
        oval_window_offset_mm: shift of the oval window on the wall, before it is put onto the wall.
        malformation: what it lacks.
        warp: smooth displacement of everything, a sum of plane waves; each row holds the amplitude vector (mm), the
            wave vector (radians per mm) and the phase (radians), 7 numbers.
    """

    variant: str = "normal"
    size: float = 1.0
    cochlea: CochleaParameters = CochleaParameters()
    canals: tuple[CanalParameters, CanalParameters, CanalParameters] = (
        CanalParameters(),
        CanalParameters(),
        CanalParameters(),
    )
    vestibule_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    vestibule_bulge: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0, 1.0)
    vestibular_aqueduct_mm: float = 0.6
    cochlear_aqueduct_mm: float = 0.3
    oval_window_offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    malformation: Malformation = WHOLE
    warp: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"unknown labyrinth variant {self.variant!r}; there are {', '.join(VARIANTS)}")
        if not 0.6 < self.size < 1.5:
            raise ValueError(f"labyrinth size must lie between 0.6 and 1.5 of the mean, got {self.size:g}")
        if not 1.0 <= self.cochlea.turns <= 3.2:
            raise ValueError(f"a cochlea has between 1 and 3.2 turns, got {self.cochlea.turns:g}")


def sample_labyrinth_parameters(rng: np.random.Generator, variant: str = "normal") -> LabyrinthParameters:
    """Draws a labyrinth as it could be met in a person.

    Args:
        rng: source of chance; the same state gives the same labyrinth.
        variant: one of VARIANTS.

    Returns:
        The parameters; every figure stays within 2.5 standard deviations of its mean.

    Raises:
        ValueError: if there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown labyrinth variant {variant!r}; there are {', '.join(VARIANTS)}")

    def normal(mean: float, spread: float) -> float:
        return float(mean + spread * np.clip(rng.normal(), -2.5, 2.5))

    def triple(spread: float) -> tuple[float, float, float]:
        return normal(0, spread), normal(0, spread), normal(0, spread)

    lumen = normal(0.992, 0.032)  # shared by all parts: wide ears are wide everywhere
    size = normal(1.0, 0.033)
    parameters = LabyrinthParameters(
        variant=variant,
        size=size,
        cochlea=CochleaParameters(
            scale=normal(1.0, 0.012),
            turns=float(np.clip(normal(2.6, 0.11), 2.4, 2.8)),
            spiral_radius_mm=normal(3.39, 0.05),
            spiral_decay=normal(0.1246, 0.004),
            rise_mm=normal(0.195, 0.007),
            lumen_scale=lumen * normal(1.0, 0.02),
            apical_taper=normal(1.0, 0.06),
            axis_tilt_deg=(normal(0, 3.0), normal(0, 3.0)),
            roll_deg=normal(0, 4.0),
            offset_mm=triple(0.15),
            hook_mm=normal(0.98, 0.15),
            lamina_thickness_mm=float(rng.uniform(0.1, 0.2)),
        ),
        canals=tuple(_sample_canal(normal, triple, lumen) for _ in CANAL_NAMES),
        vestibule_scale=(lumen * normal(1.0, 0.03), lumen * normal(1.0, 0.03), lumen * normal(1.0, 0.03)),
        vestibule_bulge=tuple(normal(1.0, 0.05) for _ in range(5)),
        vestibular_aqueduct_mm=float(rng.uniform(0.4, 0.9)),
        cochlear_aqueduct_mm=float(rng.uniform(0.15, 0.4)),
        oval_window_offset_mm=triple(0.26),
        warp=_sample_warp(rng, waves=8, spread_mm=0.13),
    )
    if variant == "incomplete_partition":
        cochlea = replace(parameters.cochlea, turns=float(rng.uniform(1.6, 2.0)), partition_turns=rng.uniform(0.9, 1.1))
        return replace(parameters, cochlea=cochlea, vestibular_aqueduct_mm=float(rng.uniform(1.5, 3.0)))
    if variant == "enlarged_vestibular_aqueduct":
        return replace(parameters, vestibular_aqueduct_mm=float(rng.uniform(1.5, 4.0)))
    if variant in WITH_CAVITIES:
        return _malformed(rng, parameters)
    return parameters


def _malformed(rng: np.random.Generator, parameters: LabyrinthParameters) -> LabyrinthParameters:
    """A labyrinth that lacks parts; its vestibule may be wide, and what there is of a cochlea small."""
    variant, cochlea = parameters.variant, parameters.cochlea
    malformation = sample_malformation(rng, variant)
    wide = 1.0
    if variant == "cochlear_hypoplasia" and rng.random() < 0.5:  # type III: small, of less than two turns
        malformation = WHOLE
        cochlea = replace(cochlea, scale=float(rng.uniform(0.72, 0.85)), turns=float(rng.uniform(1.0, 1.6)))
    elif variant == "incomplete_partition_1":
        cochlea = replace(cochlea, turns=float(rng.uniform(2.0, 2.5)), partition_turns=0.0)
        wide = float(rng.uniform(1.15, 1.4))
    elif variant == "cochlear_aplasia" and rng.random() < 0.5:
        wide = float(rng.uniform(1.15, 1.4))
    x, y, z = parameters.vestibule_scale
    return replace(
        parameters, malformation=malformation, cochlea=cochlea, vestibule_scale=(wide * x, wide * y, wide * z)
    )


def _sample_canal(normal, triple, lumen: float) -> CanalParameters:
    return CanalParameters(
        radius_scale=normal(1.0, 0.045),
        lumen_scale=lumen * normal(1.0, 0.015),
        ampulla_scale=normal(1.0, 0.05),
        tilt_deg=(normal(0, 2.4), normal(0, 2.4)),
        offset_mm=triple(0.1),
        ellipticity=normal(0, 0.02),
        twist=normal(1.0, 0.5),
    )


def _sample_warp(rng: np.random.Generator, waves: int, spread_mm: float) -> tuple[tuple[float, ...], ...]:
    """Waves of 12 to 25 mm whose sum has the given standard deviation along each axis."""
    rows = []
    for _ in range(waves):
        amplitude = np.clip(rng.normal(size=3), -2, 2) * spread_mm * np.sqrt(2 / waves)
        direction = rng.normal(size=3)
        wave = direction / np.linalg.norm(direction) * 2 * np.pi / rng.uniform(12, 25)
        rows.append((*amplitude.tolist(), *wave.tolist(), float(rng.uniform(0, 2 * np.pi))))
    return tuple(rows)
