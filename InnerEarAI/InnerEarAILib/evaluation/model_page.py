"""A model's card as a page to read, beside it in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from InnerEarAILib.evaluation.evaluate import Outcome
from InnerEarAILib.evaluation.groups import reported
from InnerEarAILib.evaluation.model_figures import EVALUATION_KEY, USUAL_KEY, card_figures
from InnerEarAILib.evaluation.phantom_cases import TRUTH_SPACING_MM
from InnerEarAILib.evaluation.report import write_text
from InnerEarAILib.evaluation.tables import tables
from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.model_store import load_network, save_card
from InnerEarAILib.networks.methods import ARCHITECTURES, draws_heatmaps, draws_labyrinth_and_landmarks

READABLE_CARD = "MODEL_CARD.md"
EVALUATION_HEADING = "## Evaluation"

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


def updated_card(card: ModelCard, outcome: Outcome) -> ModelCard:
    """Writes the figures of an evaluation into a model's card, and the page beside it; each whole or as it was.

    Args:
        card: as read from the store.
        outcome: of `evaluate` with this model.

    Returns:
        The card as written; the weights are not touched.

    Raises:
        ModelError: if the weights cannot be read.
    """
    weights = network_size(load_network(card))
    kept = {key: value for key, value in card.figures.items() if key not in (EVALUATION_KEY, USUAL_KEY)}
    written = replace(card, figures={**kept, **card_figures(outcome)})
    save_card(written)
    write_text(card.directory / READABLE_CARD, readable_card(written, weights, outcome))
    return written


def refresh_page(card: ModelCard) -> None:
    """Lets the page beside a card, where there is one, say what the card says now; the tables of its evaluation stay.

    Raises:
        ModelError: if the weights cannot be read.
    """
    path = card.directory / READABLE_CARD
    if path.is_file():
        _, heading, evaluated = path.read_text(encoding="utf-8").partition(EVALUATION_HEADING)
        write_text(path, _about(card, network_size(load_network(card))) + heading + evaluated)


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
    return _about(card, weights) + EVALUATION_HEADING + "\n\n" + _evaluated(card.name, outcome)


def _about(card: ModelCard, weights: int) -> str:
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
        *([_settings(validated), ""] if validated else []),
    ]
    return "\n".join(lines) + "\n"


def _evaluated(name: str, outcome: Outcome) -> str:
    lines = [
        f"{len(reported(outcome.figures))} drawn scans of seeds that no training uses, with exact truth on a grid "
        f"of {TRUTH_SPACING_MM:g} mm. "
        f"`python -m InnerEarAILib evaluate --card {name} -o DIR` computes these figures again.",
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
    if draws_labyrinth_and_landmarks(card.method, card.network):
        return {"labyrinth": SEGMENTATION, "landmarks": LOCALIZATION}
    heatmaps_alone = draws_heatmaps(card.method, card.network)
    return {"landmarks": LOCALIZATION} if heatmaps_alone else {"labyrinth": SEGMENTATION}


def _settings(values: Mapping[str, Any]) -> str:
    def told(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        return ", ".join(map(told, value)) if isinstance(value, list | tuple) else str(value)

    return "\n".join(f"- {key.replace('_', ' ')}: {told(value)}" for key, value in values.items())
