"""The 43 variations of the paper's ablation studies, each one named difference to the base configuration.

The paper (Stebani et al. 2023, "Algorithm and network architecture" and "Training") names what was varied and counts 43
experiments; where the values stand in its supplement they are ours, and say so: 23 of the 43. So is how many of these
there are of an aspect, but for the three heatmap schedules. With fewer than five levels there are fewer supervision
terminals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from InnerEarAILib.volume import InputError

BASE = "base"
"""Name of the configuration that is varied, and of the run of it as it is."""


@dataclass(frozen=True)
class Variation:
    """One difference.

    Attributes:
        name: of the run.
        aspect: what is varied; the heading of its bars.
        changes: entries of the configuration file that differ, by section.
        ours: whether the value is chosen by us, since the paper does not state it.
    """

    name: str
    aspect: str
    changes: Mapping[str, Mapping[str, Any]]
    ours: bool = False


def _of(aspect: str, section: str, entry: str, values: Mapping[str, Any], ours: bool = False) -> list[Variation]:
    return [Variation(name, aspect, {section: {entry: value}}, ours) for name, value in values.items()]


PAPER_WIDTHS = (32, 64, 128, 256, 320)
"""Feature maps of each level of the paper's base (Stebani et al. 2023, Fig. 2)."""

_SAME_FOR_ALL: tuple[Variation, ...] = (
    *_of("normalisation", "network", "normalisation", {"batch_norm": "batch"}),
    *_of(
        "loss",
        "loss",
        "segmentation",
        {
            "dice_loss": "dice",
            "squared_dice_loss": "squared_dice",
            "log_cosh_dice_loss": "log_cosh_dice",
            "bce_loss": "bce",
        },
    ),
    *_of("deep supervision", "network", "deep_supervision", {"no_deep_supervision": False}),
    *_of("augmentation", "data", "augmentation", {"no_augmentation": "none", "augmentation_beta": "beta"}),
    *_of("activation", "network", "activation", {name: name for name in ("relu", "prelu", "gelu", "silu", "mish")}),
    *_of(
        "attention gates",
        "network",
        "attention_gates",
        {"gates_both": "both", "gates_segmentation": "segmentation", "gates_heatmaps": "heatmaps"},
    ),
    *_of("accumulation", "optimisation", "accumulation", {f"accumulation_{n}": n for n in (1, 5, 15, 20)}),
    *_of(
        "heatmap schedule",
        "heatmaps",
        "schedule",
        {"heatmaps_constant": "constant", "heatmaps_beta": "beta", "heatmaps_gamma": "gamma"},
        ours=True,
    ),
    *(
        Variation(
            f"sgd_{rate:g}", "optimiser", {"optimisation": {"optimiser": "sgd", "learning_rate": rate}}, ours=True
        )
        for rate in (1e-3, 1e-2, 1e-1)
    ),
    *_of(
        "weight decay",
        "optimisation",
        "weight_decay",
        {f"weight_decay_{decay:g}": decay for decay in (0.0, 0.001, 0.01, 0.05, 0.1)},
        ours=True,
    ),
    *_of(
        "AdamW averages",
        "optimisation",
        "betas",
        {
            f"betas_{first:g}_{second:g}": (first, second)
            for first, second in ((0.8, 0.999), (0.95, 0.999), (0.9, 0.99), (0.9, 0.9999))
        },
        ours=True,
    ),
)


def variations_of(widths: Sequence[int] = PAPER_WIDTHS) -> tuple[Variation, ...]:
    """The 43 variations of a base whose levels have these feature maps."""

    def levels(count: int) -> tuple[int, ...]:
        return (*widths, *widths[-1:] * count)[:count]

    def times(factor: float) -> tuple[int, ...]:
        return tuple(max(1, int(factor * width)) for width in widths)

    depths = {"three_levels": levels(3), "four_levels": levels(4), "six_levels": levels(6)}
    factors = {
        "quarter_width": 0.25,
        "half_width": 0.5,
        "three_quarter_width": 0.75,
        "one_and_a_half_width": 1.5,
        "double_width": 2.0,
    }
    return (
        *_SAME_FOR_ALL,
        *_of("depth", "network", "widths", depths, ours=True),
        *_of("width", "network", "widths", {name: times(factor) for name, factor in factors.items()}, ours=True),
    )


VARIATIONS = variations_of()

SINGLE_TASKS: tuple[Variation, ...] = tuple(
    _of(
        "task",
        "network",
        "heads",
        {"segmentation_alone": "segmentation", "heatmaps_alone": "heatmaps"},
    )
)
"""The two networks that the paper's Fig. 3 compares the base with; they come on top of the 43."""


def variation(name: str, widths: Sequence[int] = PAPER_WIDTHS) -> Variation:
    """The variation of that name; BASE is the one without a difference.

    Args:
        name: of a variation, a single task, or BASE.
        widths: feature maps of each level of the base.

    Raises:
        InputError: if there is none.
    """
    if name == BASE:
        return Variation(BASE, "base", {})
    for one in (*variations_of(widths), *SINGLE_TASKS):
        if one.name == name:
            return one
    known = ", ".join((BASE, *(one.name for one in (*VARIATIONS, *SINGLE_TASKS))))
    raise InputError(f"There is no variation “{name}”; there are {known}.")
