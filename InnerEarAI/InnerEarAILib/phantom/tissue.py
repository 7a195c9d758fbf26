"""CT numbers of the tissues, specimen by specimen: living heads, and dry, embalmed and embedded temporal bones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

State = Literal["fresh", "dry", "embalmed", "embedded"]
"""How the specimen was kept. Stebani et al. 2023 have frozen specimens (A), patients (B), prepared bones (G, W, O)."""

STATES: tuple[State, ...] = get_args(State)

AIR = -1000.0

MARROW_FAT = 0.6
"""Share of fat in the marrow of an adult's skull base, about half to two thirds in anatomy books."""


@dataclass(frozen=True)
class TissueParameters:
    """CT numbers in HU, and how they vary within the specimen.

    The mean values of fresh tissue follow a clinical scan of a living patient (otic capsule: median 1970 HU 0.5 to
    0.8 mm beside the lumen; other compact bone: mode 1630; fluid 27 HU; brain 28 HU); soft tissue and blood are
    textbook values.

    Attributes:
        state: how the specimen was kept.
        fluid: peri- and endolymph, the lumen of the labyrinth.
        cerebrospinal: fluid of the internal auditory canal and the cisterns.
        nerve, brain, muscle, fat, blood, dura, cartilage: soft tissues.
        mucosa: lining of the cavities, eardrum and window membranes.
        air: what fills the cavities.
        effusion: what fills them where there is fluid instead.
        surroundings: what lies outside the head or the specimen.
        capsule: otic capsule.
        cortex: compact petrous, mastoid and skull bone.
        trabecula: mean of marrow bone, trabeculae and marrow together.
        marrow: what lies between the trabeculae, red and fatty.
        ossicle: malleus, incus and stapes.
        tooth: enamel and dentine.
        compact_variation: slow variation within compact bone, SD in HU.
        trabecular_variation: mottling of marrow bone, SD in HU.
        soft_variation: mottling of soft tissue, SD in HU.
        bubble_share: share of the fluid spaces that holds air bubbles, 0 to 1.
    """

    state: State = "fresh"
    fluid: float = 25.0
    cerebrospinal: float = 12.0
    nerve: float = 38.0
    brain: float = 33.0
    muscle: float = 55.0
    fat: float = -95.0
    blood: float = 50.0
    dura: float = 60.0
    cartilage: float = 110.0
    mucosa: float = 40.0
    air: float = AIR
    effusion: float = 25.0
    surroundings: float = AIR
    capsule: float = 2010.0
    cortex: float = 1720.0
    trabecula: float = 520.0
    marrow: float = -30.0
    ossicle: float = 1750.0
    tooth: float = 2300.0
    compact_variation: float = 80.0
    trabecular_variation: float = 260.0
    soft_variation: float = 12.0
    bubble_share: float = 0.0


def sample_tissue(rng: np.random.Generator, state: State = "fresh") -> TissueParameters:
    """Draws the tissues of one specimen.

    Args:
        rng: source of randomness.
        state: how the specimen was kept. "dry": every soft tissue and fluid has given way to air. "embalmed": fixed;
            the fluid differs in contrast, and bubbles of air may stand in it. "embedded": resin fills all that was
            soft or air.

    Raises:
        ValueError: if the state is not one of STATES.
    """
    if state not in STATES:
        raise ValueError(f"state {state!r} is unknown; choose one of {', '.join(STATES)}")
    mineral = np.clip(rng.normal(1.0, 0.06), 0.82, 1.16)
    cortex = rng.normal(1720, 80)
    tissue = TissueParameters(
        state=state,
        fluid=rng.normal(25, 18),
        cerebrospinal=rng.normal(12, 8),
        nerve=rng.normal(38, 6),
        brain=rng.normal(33, 5),
        muscle=rng.normal(55, 7),
        fat=rng.normal(-95, 12),
        blood=rng.uniform(150, 350) if rng.random() < 0.15 else rng.normal(50, 8),
        dura=rng.normal(60, 10),
        cartilage=rng.normal(110, 30),
        mucosa=rng.normal(40, 15),
        air=rng.uniform(-1000, -970),
        effusion=rng.uniform(0, 60),
        capsule=mineral * (cortex + rng.normal(290, 60)),
        cortex=mineral * cortex,
        trabecula=mineral * rng.uniform(300, 1150),
        ossicle=mineral * rng.normal(1750, 180),
        tooth=rng.normal(2300, 250),
        compact_variation=rng.uniform(40, 120),
        trabecular_variation=rng.uniform(140, 380),
        soft_variation=rng.uniform(4, 20),
    )
    tissue = replace(tissue, marrow=MARROW_FAT * tissue.fat + (1 - MARROW_FAT) * tissue.muscle)
    if state == "dry":
        return _filled(tissue, rng.uniform(-1000, -930), bubble_share=0.0)
    if state == "embedded":
        resin = rng.uniform(60, 320)
        return _filled(tissue, resin, bubble_share=rng.uniform(0, 0.12))
    if state == "embalmed":
        shift = rng.uniform(-15, 60)
        soft = ("nerve", "brain", "muscle", "blood", "dura", "mucosa")
        fixed = {name: getattr(tissue, name) + shift for name in soft}
        fluid = rng.uniform(-120, 160)
        bubbles = rng.uniform(0, 0.35) if rng.random() < 0.5 else 0.0
        return replace(tissue, fluid=fluid, cerebrospinal=fluid + rng.normal(0, 15), bubble_share=bubbles, **fixed)
    return tissue


_SOFT = [
    "fluid",
    "cerebrospinal",
    "nerve",
    "brain",
    "muscle",
    "fat",
    "marrow",
    "blood",
    "dura",
    "cartilage",
    "mucosa",
    "air",
    "effusion",
    "surroundings",
]


def _filled(tissue: TissueParameters, filling: float, bubble_share: float) -> TissueParameters:
    return replace(tissue, **dict.fromkeys(_SOFT, float(filling)), soft_variation=0.0, bubble_share=bubble_share)
