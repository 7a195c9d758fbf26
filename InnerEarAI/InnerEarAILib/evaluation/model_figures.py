"""What an evaluation says of a model: the figures on its card, and the card as a page to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from InnerEarAILib.evaluation.comparison import CALIBRATION_EDGES, CaseFigures
from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.metrics import Summary, summarise
from InnerEarAILib.evaluation.phantom_cases import TRUTH_SPACING_MM
from InnerEarAILib.evaluation.report import write_text
from InnerEarAILib.evaluation.tables import (
    by_group,
    calibration,
    deviation_against_dice,
    orientation_changes,
    reported,
    tables,
    usual_deviations,
    usual_standard_deviation,
)
from InnerEarAILib.model_store import ModelCard, ModelError, load_network, save_model
from InnerEarAILib.networks.methods import ARCHITECTURES, draws_heatmaps, gives_landmarks

READABLE_CARD = "MODEL_CARD.md"

INTENDED_USE = {
    "segmenter": "{task} in CT of the human temporal bone or head, for research. Every result is to be looked at by a "
    "person who knows the anatomy. Not a medical device; not for diagnosis or treatment.",
    "locator": "Marking where inner ears may lie in CT of the human temporal bone or head, so that a segmenter looks "
    "there and not everywhere, for research. A mark is a place to look at, wider than the labyrinth: no segmentation, "
    "and no measure of its size. Not a medical device; not for diagnosis or treatment.",
}
"""What a model is for, by its role; a segmenter's task by what its network draws."""

SEGMENTATION = "segmentation of the labyrinth"
LOCALIZATION = "localization of helicotrema, oval window and round window"

EVALUATION_KEY, USUAL_KEY = "evaluation", "usual_standard_deviation"
"""Under these keys of the card's figures stands what `evaluate --card` computes."""


def card_figures(outcome: Outcome) -> dict[str, Any]:
    """The figures of an evaluation for a model card: JSON-able, with their spread."""
    cases = reported(outcome.figures)
    figures: dict[str, Any] = {EVALUATION_KEY: {"scans": len(cases), "groups": _groups(cases)}}
    usual = usual_standard_deviation(outcome.figures)
    if usual is not None:
        figures[USUAL_KEY] = usual
        figures[EVALUATION_KEY]["usual_from_ears"] = len(usual_deviations(outcome.figures))
    counts = calibration(cases)
    if any(voxels for voxels, _ in counts):
        figures[EVALUATION_KEY]["calibration"] = {
            "edges": list(CALIBRATION_EDGES),
            "voxels": [voxels for voxels, _ in counts],
            "wrong": [wrong for _, wrong in counts],
        }
    told = deviation_against_dice(cases)
    if np.isfinite(told.coefficient):
        figures[EVALUATION_KEY]["rank_correlation_of_deviation_and_dice"] = round(told.coefficient, 3)
    changes = [abs(change) for _, _, _, change in orientation_changes(cases)]
    if changes:
        figures[EVALUATION_KEY]["largest_change_of_dice_by_orientation"] = round(max(changes), 4)
    earless = [case for case in cases if not case.ears]
    if earless:
        figures[EVALUATION_KEY]["scans_without_an_ear"] = len(earless)
        figures[EVALUATION_KEY]["ears_found_in_them"] = sum(case.false_ears for case in earless)
    return figures


def updated_card(card: ModelCard, outcome: Outcome, root: Path) -> ModelCard:
    """Writes the figures of an evaluation into a model's card, and MODEL_CARD.md beside it; each whole or as it was.

    Args:
        card: as read from the store.
        outcome: of `evaluate` with this model.
        root: the store.

    Returns:
        The card as written; the weights are the same.

    Raises:
        ModelError: if the weights cannot be read, or would change.
    """
    network = load_network(card)
    kept = {key: value for key, value in card.figures.items() if key not in (EVALUATION_KEY, USUAL_KEY)}
    written = save_model(root, replace(card, figures={**kept, **card_figures(outcome)}), network)
    if written.weights_sha256 != card.weights_sha256:
        raise ModelError(f"The weights of model '{card.name}' were not stored as float16 and have been rounded to it.")
    write_text(root / card.name / READABLE_CARD, readable_card(written, network_size(network), outcome))
    return written


def network_size(network: Any) -> int:
    """Number of weights of a network."""
    return sum(weight.numel() for weight in network.parameters())


def readable_card(card: ModelCard, weights: int, outcome: Outcome) -> str:
    """The card as a Markdown page.

    Args:
        card: with its figures.
        weights: number of them.
        outcome: the evaluation whose tables it shows.
    """
    drawn = _drawn(card)
    validated = {key: value for key, value in card.figures.items() if key.startswith("validation_")}
    heatmaps = f"amplitude {card.heatmap_amplitude:g}, {card.heatmap_spread_voxels:g} voxels wide"
    what = [
        ("Version", card.version),
        ("Role", "finds the ears" if card.role == "locator" else " and ".join(drawn)),
        ("Licence of the weights", card.licence),
        ("SHA-256", f"`{card.weights_sha256}`"),
        ("Weights", f"{weights / 1e6:.2f} million, float16, {card.weights_file}"),
        ("Voxels", f"{card.spacing_mm:g} mm, tiles of {card.tile_voxels}³ with {card.overlap_voxels} voxels overlap"),
        ("Region round an ear", f"{card.region_mm:g} mm"),
        ("Intensities", "clipped at quantiles {:g} and {:g}, zero mean, unit variance".format(*card.clip_quantiles)),
        *([("Heatmaps", heatmaps)] if "landmarks" in drawn else []),
        ("Number formats that give the same ear", ", ".join(card.agreeing_precisions)),
        *([("Unusually unsure", _told_of_usual(card.figures))] if USUAL_KEY in card.figures else []),
        ("Library", card.library_version),
    ]
    lines = [
        f"# {card.name}",
        "",
        "\n".join(f"- {name}: {value}" for name, value in what),
        "",
        "## Intended use",
        "",
        INTENDED_USE[card.role].format(task=" and ".join(drawn.values()).capitalize()),
        "",
        "## Limits",
        "",
        card.limits,
        "",
        "## Architecture",
        "",
        f"{ARCHITECTURES[card.method]} with these settings:",
        "",
        _settings(card.network),
        "",
        "## Training",
        "",
        card.trained_on,
        "",
        "## Validation during training",
        "",
        card.validated_on,
        "",
        _settings(validated),
        "",
        "## Evaluation",
        "",
        f"{len(reported(outcome.figures))} drawn scans of seeds that no training uses and nobody looked at while the "
        f"model was developed, with exact truth on a grid of {TRUTH_SPACING_MM:g} mm. "
        f"`python -m InnerEarAILib evaluate --card {card.name} -o DIR` computes these figures again.",
        *([f"Not done: {len(outcome.remaining)} scans, for want of time."] if outcome.remaining else []),
        *([f"Left out, since there was no locator: {len(outcome.left_out)} scans."] if outcome.left_out else []),
        "",
        *(table.markdown() for table in tables(outcome.figures)),
    ]
    return "\n".join(lines)


def _told_of_usual(figures: Mapping[str, Any]) -> str:
    told = f"from a mean standard deviation of {figures[USUAL_KEY]:.2e}"
    ears = figures.get(EVALUATION_KEY, {}).get("usual_from_ears")
    return f"{told}, which 95 % of {ears} normal drawn ears stay below; no other figure is of these" if ears else told


def _drawn(card: ModelCard) -> dict[str, str]:
    """What a network draws, each with the task that it thereby does."""
    if gives_landmarks(card.method, card.network):
        return {"labyrinth": SEGMENTATION, "landmarks": LOCALIZATION}
    heatmaps_alone = draws_heatmaps(card.method, card.network)
    return {"landmarks": LOCALIZATION} if heatmaps_alone else {"labyrinth": SEGMENTATION}


def _groups(cases: Sequence[CaseFigures]) -> dict[str, Any]:
    groups = {}
    for group, members in by_group(cases):
        ears = [ear for case in members for ear in case.ears]
        described: dict[str, Any] = {"scans": len(members), "false_ears": sum(case.false_ears for case in members)}
        if ears:
            described |= {"ears": len(ears), "found": sum(ear.found for ear in ears)}
            described["right_side"] = sum(bool(ear.side_right) for ear in ears)
            for name in ("dice", "iou", "average_hausdorff_mm", "landmarks_mm", "mean_standard_deviation"):
                described |= _spread(name, summarise(getattr(ear, name) for ear in ears))
        groups[group] = described
    return groups


def _spread(name: str, summary: Summary) -> dict[str, float]:
    figures = {"mean": summary.mean, "sd": summary.deviation, "median": summary.median}
    return {f"{name}_{kind}": float(f"{value:.4g}") for kind, value in figures.items() if np.isfinite(value)}


def _settings(values: Mapping[str, Any]) -> str:
    def told(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        return ", ".join(map(told, value)) if isinstance(value, list | tuple) else str(value)

    return "\n".join(f"- {key.replace('_', ' ')}: {told(value)}" for key, value in values.items()) or "none"
