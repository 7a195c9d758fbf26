"""The model store: one folder a model, with its card (model.json) and its weights (safetensors, checked by SHA-256).

    models/NAME/model.json            what the network is, what it was trained on, how good it is: a ModelCard
    models/NAME/weights.safetensors   float16

Where the store is: the folder named by the environment variable INNEREARAI_MODELS, else `models` inside this package
(an installed Slicer module or wheel), else `models` at the root of the source tree.

Models are listed and chosen without torch, so that a panel can do so before anything is computed.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from InnerEarAILib.model_card import CARD_FILE, ModelCard, ModelError, card_text, read_card
from InnerEarAILib.networks.methods import draws_labyrinth_and_landmarks
from InnerEarAILib.preprocessing import PAPER_VOXEL_MM
from InnerEarAILib.whole_files import replacing, unfinished_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

MODELS_VARIABLE = "INNEREARAI_MODELS"
"""Environment variable that names the folder of the store."""

LOCATOR = "locator"
"""Name of the model that finds ears for the others."""

FINE_SCAN_MM = 0.15
"""Scans at least this fine are worth the gold model: flat-panel, cone-beam and micro-CT (ours)."""

FINE_MODEL, USUAL_MODEL = ("gold", PAPER_VOXEL_MM), ("clinical", 0.198)
"""Name of the segmenter for such scans on a GPU and of that for all else, and the voxel edge in mm that one is looked
for by where it is missing."""


def default_directory() -> Path:
    """Where the models are (see the module's description)."""
    override = os.environ.get(MODELS_VARIABLE)
    if override:
        return Path(override)
    package = Path(__file__).resolve().parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parents[1] / "models"


def list_models(directory: Path | str | None = None) -> tuple[ModelCard, ...]:
    """The cards of all models, by name; folders without a card are passed over, a card that is wrong with a warning.

    Raises:
        ModelError: if there are cards, and none of them can be read.
    """
    root = Path(directory) if directory is not None else default_directory()
    cards: list[ModelCard] = []
    faults: list[ModelError] = []
    for path in sorted(root.glob(f"[!.]*/{CARD_FILE}")):
        try:
            cards.append(read_card(path))
        except ModelError as error:
            faults.append(error)
    if faults and not cards:
        raise faults[0]
    for fault in faults:
        _warn_once(str(fault))
    return tuple(cards)


def load_card(name: str, directory: Path | str | None = None) -> ModelCard:
    """The card of the model of that name.

    Raises:
        ModelError: if there is no such model, or its card cannot be read.
    """
    root = Path(directory) if directory is not None else default_directory()
    path = root / name / CARD_FILE
    known = sorted(entry.parent.name for entry in root.glob(f"[!.]*/{CARD_FILE}"))
    if name not in known:
        choices = f"there are {', '.join(known)}" if known else "the folder holds no models"
        raise ModelError(f"There is no model '{name}' in {root}: {choices}.")
    return read_card(path)


def find_card(name_or_folder: str, directory: Path | str | None = None) -> ModelCard:
    """The card of a model of the store, or of a model's own folder, such as a training run leaves.

    Raises:
        ModelError: if there is no such model, or its card cannot be read.
    """
    path = Path(name_or_folder)
    if os.path.isfile(path / CARD_FILE):  # Path.is_file raises where the name is too long for a file
        return load_card(path.resolve().name, path.resolve().parent)
    return load_card(name_or_folder, directory)


def choose_model(spacing_mm: float, device: torch.device | str, cards: Iterable[ModelCard]) -> ModelCard:
    """The segmenter that suits a scan and a device.

    Args:
        spacing_mm: smallest voxel edge of the scan.
        device: where it will run.
        cards: what there is.

    Returns:
        For a scan of at most FINE_SCAN_MM on a CUDA device FINE_MODEL, else USUAL_MODEL; where that is missing, the
        segmenter whose spacing is nearest to its. Networks that do not draw labyrinth and landmarks both are not
        chosen.

    Raises:
        ModelError: if there is no segmenter at all.
    """
    segmenters = {
        card.name: card
        for card in cards
        if card.role == "segmenter" and draws_labyrinth_and_landmarks(card.method, card.network)
    }
    if not segmenters:
        raise ModelError("No model that segments is installed: put one into the models folder, or train one.")
    fine = spacing_mm <= FINE_SCAN_MM and str(device).startswith("cuda")
    wanted_name, wanted_spacing_mm = FINE_MODEL if fine else USUAL_MODEL
    if wanted_name in segmenters:
        return segmenters[wanted_name]
    return min(segmenters.values(), key=lambda card: (abs(math.log(card.spacing_mm / wanted_spacing_mm)), card.name))


def load_network(card: ModelCard, device: torch.device | str = "cpu") -> nn.Module:
    """The network of a card with its weights in float32, ready for inference.

    Args:
        card: as read by `load_card` or `list_models`.
        device: where the weights go.

    Raises:
        ModelError: if the weights are missing, truncated, altered or do not fit the card.
    """
    import safetensors
    import safetensors.torch
    import torch

    from InnerEarAILib.networks.methods import build_network, network_config

    if card.directory is None:
        raise ModelError(f"The card of model '{card.name}' was not read from a folder, so its weights are unknown.")
    path = card.directory / card.weights_file
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The weights of model '{card.name}' cannot be read: {path} ({error.strerror}).") from error
    if hashlib.sha256(content).hexdigest() != card.weights_sha256:
        raise ModelError(
            f"The weights of model '{card.name}' are truncated or altered ({path}, {len(content)} bytes: "
            "the SHA-256 is not the one on the card); install the model again."
        )
    try:
        network = build_network(card.method, network_config(card.method, card.network))
        network.load_state_dict(safetensors.torch.load(content))
    except (ValueError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(":.")
        raise ModelError(f"The weights of model '{card.name}' do not fit its card ({reason}).") from error
    return network.to(device=device, dtype=torch.float32).eval()


def save_model(directory: Path | str, card: ModelCard, network: nn.Module) -> ModelCard:
    """Writes a model into a store, whole or not at all; a model of that name is replaced.

    Args:
        directory: the store; made if absent.
        card: its method, network, weights_sha256 and directory are filled in here.
        network: of one of the METHODS; weights of any dtype on any device; stored as float16.

    Returns:
        The card as written.

    Raises:
        ModelError: if a weight is not finite in float16, or the card's values are not allowed.
    """
    import safetensors.torch
    import torch

    root = Path(directory)
    weights = {}
    for name, tensor in network.state_dict().items():
        stored = tensor.detach().cpu().contiguous()
        stored = stored.to(torch.float16) if stored.is_floating_point() else stored
        if not torch.isfinite(stored).all():
            raise ModelError(f"Model '{card.name}' is not saved: its weight {name} is not a finite float16 number.")
        weights[name] = stored
    content = safetensors.torch.save(weights)
    written = replace(
        card,
        method=network.method,
        network=network.config.to_dict(),
        weights_sha256=hashlib.sha256(content).hexdigest(),
        directory=root / card.name,
    )
    text = card_text(written)
    root.mkdir(parents=True, exist_ok=True)
    with unfinished_folder(root) as workshop:
        fresh = workshop / "new"
        fresh.mkdir()
        (fresh / written.weights_file).write_bytes(content)
        (fresh / CARD_FILE).write_text(text, encoding="utf-8")
        _swap_in(fresh, root / card.name, workshop / "old")
    return written


def save_card(card: ModelCard) -> None:
    """Writes the card of an installed model, whole or not at all; the weights and what else lies beside it stay.

    Raises:
        ModelError: if the card's values are not allowed, or it cannot be written.
    """
    text = card_text(card)
    try:
        with replacing(card.directory / CARD_FILE) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{CARD_FILE} cannot be written to {card.directory} ({error.strerror}).") from error


def _swap_in(fresh: Path, target: Path, aside: Path) -> None:
    if not target.exists():
        fresh.rename(target)
        return
    target.rename(aside)
    try:
        fresh.rename(target)
    except OSError:
        aside.rename(target)
        raise


@cache
def _warn_once(fault: str) -> None:
    """Models are listed again and again."""
    logging.getLogger(__name__).warning("%s This model is left aside.", fault)
