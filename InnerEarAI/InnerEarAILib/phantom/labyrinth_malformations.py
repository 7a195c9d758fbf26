"""Malformations that leave parts of the labyrinth out, or put a plain cavity in their place.

Kinds after the classification of Sennaroğlu & Bajin 2017 (Balkan Med J 34: 397–411), and the dysplasia of the lateral
canal. Sizes are ours, within what textbooks call typical: no morphometry of malformed ears lies at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from InnerEarAILib.landmarks import LANDMARK_NAMES

Part = Literal["cochlea", "vestibule", "canals"]

CANAL_NAMES = ("anterior", "posterior", "lateral")
"""The semicircular canals; the anterior one is also called superior."""

WITH_CAVITIES = (
    "labyrinthine_aplasia",
    "cochlear_aplasia",
    "common_cavity",
    "cochlear_hypoplasia",
    "incomplete_partition_1",
    "lateral_canal_dysplasia",
)
"""The malformations of this file, from the earliest arrest of development to the latest."""

TOWARDS_COCHLEA = (0.54, -0.79, -0.30)
"""From the middle of the vestibule to that of the cochlea, unit."""


@dataclass(frozen=True)
class Cavity:
    """An ellipsoid of the lumen that takes the place of something finer.

    Attributes:
        part: which part of the labyrinth it belongs to.
        centre_mm: in the mean labyrinth.
        semi_axes_mm: along its own axes.
        long_axis: direction (3,) of the first semi-axis; the third is as upright as can be.
    """

    part: Part
    centre_mm: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    long_axis: tuple[float, float, float] = (1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Malformation:
    """What a labyrinth lacks, and has instead. The default lacks nothing.

    Attributes:
        cochlea, vestibule: whether there is one.
        modiolus: whether the cochlea winds about a modiolus.
        canals: those that there are.
        cavities: what lies in place of the others.
        landmarks: names of those that there are.
    """

    cochlea: bool = True
    vestibule: bool = True
    modiolus: bool = True
    canals: tuple[str, ...] = CANAL_NAMES
    cavities: tuple[Cavity, ...] = ()
    landmarks: tuple[str, ...] = LANDMARK_NAMES

    @property
    def lumen(self) -> bool:
        """Whether there is a labyrinth at all."""
        return bool(self.cochlea or self.vestibule or self.canals or self.cavities)


WHOLE = Malformation()
"""Nothing is lacking."""


def sample_malformation(rng: np.random.Generator, kind: str) -> Malformation:
    """Draws a malformation.

    Args:
        rng: source of chance.
        kind: one of WITH_CAVITIES.
    """
    return {
        "labyrinthine_aplasia": _labyrinthine_aplasia,
        "cochlear_aplasia": _cochlear_aplasia,
        "common_cavity": _common_cavity,
        "cochlear_hypoplasia": _bud,
        "incomplete_partition_1": _cystic_cochlea,
        "lateral_canal_dysplasia": _pouch_for_lateral_canal,
    }[kind](rng)


def _labyrinthine_aplasia(rng: np.random.Generator) -> Malformation:
    del rng
    return Malformation(cochlea=False, vestibule=False, modiolus=False, canals=(), landmarks=())


def _cochlear_aplasia(rng: np.random.Generator) -> Malformation:
    del rng
    return Malformation(cochlea=False, modiolus=False, landmarks=("oval window",))


def _common_cavity(rng: np.random.Generator) -> Malformation:
    """One chamber for cochlea and vestibule, with what there is of canals."""
    long = rng.uniform(4.4, 5.6)
    chamber = Cavity("vestibule", (0.4, -0.9, -0.3), (long, *rng.uniform(3.0, 3.9, 2).tolist()), TOWARDS_COCHLEA)
    canals = tuple(name for name in CANAL_NAMES if rng.random() < 0.35)
    return Malformation(
        cochlea=False, vestibule=False, modiolus=False, canals=canals, cavities=(chamber,), landmarks=("oval window",)
    )


def _bud(rng: np.random.Generator) -> Malformation:
    """A cochlea that is a bud before the vestibule (type I)."""
    radii = rng.uniform(1.2, 2.1, 3)
    place = (0.9 + 0.3 * radii[0], -2.2 - 0.35 * radii[0], -1.5)
    bud = Cavity("cochlea", place, tuple(radii.tolist()), TOWARDS_COCHLEA)
    return Malformation(cochlea=False, modiolus=False, cavities=(bud,), landmarks=("oval window",))


def _cystic_cochlea(rng: np.random.Generator) -> Malformation:
    """A cochlea of about normal outline without anything within (type I)."""
    across = rng.uniform(2.3, 2.8, 2).tolist()
    cyst = Cavity("cochlea", (3.3, -4.9, -1.95), (rng.uniform(1.9, 2.4), *across), (-0.520, -0.823, -0.231))
    return Malformation(modiolus=False, cavities=(cyst,), landmarks=("oval window", "round window"))


def _pouch_for_lateral_canal(rng: np.random.Generator) -> Malformation:
    """A wide pouch of the vestibule in place of the lateral canal."""
    semi_axes = (rng.uniform(2.2, 3.0), rng.uniform(1.9, 2.6), rng.uniform(1.1, 1.5))
    pouch = Cavity("canals", (-2.2, 0.9, 0.95), semi_axes)
    return Malformation(canals=("anterior", "posterior"), cavities=(pouch,))
