"""The model store: one folder a model, with its card (model.json) and its weights (safetensors, checked by SHA-256).

    models/NAME/model.json            what the network is, what it was trained on, how good it is: a ModelCard
    models/NAME/weights.safetensors   float16

Where the store is: the folder named by the environment variable INNEREARAI_MODELS, else `models` inside this package
(an installed Slicer module or wheel), else `models` at the root of the source tree.

Cards are read without torch, so that a panel can list the models before anything is computed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from InnerEarAILib.networks.methods import DUAL_HEAD_UNET, METHODS, gives_landmarks
from InnerEarAILib.preprocessing import CLIP_QUANTILES
from InnerEarAILib.scan_checks import LEAST_EXTENT_MM
from InnerEarAILib.whole_files import replacing

if TYPE_CHECKING:
    import torch
    from torch import nn

Role = Literal["segmenter", "locator"]

MODELS_VARIABLE = "INNEREARAI_MODELS"
CARD_FILE = "model.json"
FINE_SPACING_MM = 0.15
"""Scans at least this fine are worth the gold model: flat-panel, cone-beam and micro-CT (ours)."""


class ModelError(RuntimeError):
    """A model cannot be used; the message is one clear sentence that says what is wrong and what to do."""


@dataclass(frozen=True)
class ModelCard:
    """What a model is, and how far it may be trusted.

    Attributes:
        name: name of the model and of its folder.
        version: of the weights, for provenance.
        role: "segmenter" (labyrinth and landmarks on a fine grid) or "locator" (finds the ears in the whole scan).
        network: fields of the method's configuration (networks.methods.network_config).
        spacing_mm: isotropic voxel size that the network was trained at.
        tile_voxels: edge length of the tiles it was trained on and sees.
        overlap_voxels: voxels shared by neighbouring tiles.
        clip_quantiles: intensities are clipped at these quantiles, then brought to zero mean and unit variance; always
            preprocessing.CLIP_QUANTILES.
        heatmap_amplitude: height of the heatmaps at the end of training; what a certain landmark looks like.
        heatmap_spread_voxels: their width (standard deviation).
        region_mm: edge length of the cube round an ear that is segmented (segmenter) or was trained on (locator).
        trained_on: one sentence.
        validated_on: one sentence.
        limits: one sentence.
        licence: SPDX identifier of the weights' licence.
        library_version: version of this library that trained it.
        agreeing_precisions: number formats measured to give the float32 result (inference.device.choose_precision).
        figures: measured figures, free; "usual_standard_deviation" is what inference.quality compares with.
        method: which network it is, a key of networks.methods.METHODS.
        weights_file: name of the weights file beside the card.
        weights_sha256: its SHA-256, lower-case hexadecimal.
        directory: the folder the card was read from; not part of the file.
    """

    name: str
    version: str
    role: Role
    network: Mapping[str, Any]
    spacing_mm: float
    tile_voxels: int
    overlap_voxels: int
    heatmap_amplitude: float
    heatmap_spread_voxels: float
    region_mm: float
    trained_on: str
    validated_on: str
    limits: str
    licence: str
    library_version: str
    clip_quantiles: tuple[float, float] = CLIP_QUANTILES
    agreeing_precisions: tuple[str, ...] = ("float32",)
    figures: Mapping[str, Any] = field(default_factory=dict)
    method: str = DUAL_HEAD_UNET
    weights_file: str = "weights.safetensors"
    weights_sha256: str = ""
    directory: Path | None = field(default=None, compare=False)

    @property
    def region_voxels(self) -> int:
        """Edge length in voxels of the cube round an ear that is predicted: at least one tile."""
        return max(self.tile_voxels, round(self.region_mm / self.spacing_mm))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the directory."""
        values = asdict(self)
        del values["directory"]
        return values


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
            cards.append(_read_card(path))
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
    return _read_card(path)


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
        For a scan of at most 0.15 mm on a CUDA device the finest segmenter ("gold"), else "clinical"; where the wanted
        one is missing, the segmenter whose spacing is nearest to the wanted one's. Networks that do not draw labyrinth
        and landmarks both are not chosen.

    Raises:
        ModelError: if there is no segmenter at all.
    """
    segmenters = {
        card.name: card for card in cards if card.role == "segmenter" and gives_landmarks(card.method, card.network)
    }
    if not segmenters:
        raise ModelError("No model that segments is installed: put one into the models folder, or train one.")
    fine = spacing_mm <= FINE_SPACING_MM and str(device).startswith("cuda")
    wanted_name, wanted_spacing_mm = ("gold", 0.099) if fine else ("clinical", 0.198)
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
    text = _checked_text(written)
    root.mkdir(parents=True, exist_ok=True)
    workshop = Path(tempfile.mkdtemp(prefix=f".{card.name}-", dir=root))
    try:
        fresh = workshop / "new"
        fresh.mkdir()
        (fresh / written.weights_file).write_bytes(content)
        (fresh / CARD_FILE).write_text(text, encoding="utf-8")
        _swap_in(fresh, root / card.name, workshop / "old")
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return written


def save_card(card: ModelCard) -> None:
    """Writes the card of an installed model, whole or not at all; the weights and what else lies beside it stay.

    Raises:
        ModelError: if the card's values are not allowed, or it cannot be written.
    """
    text = _checked_text(card)
    try:
        with replacing(card.directory / CARD_FILE) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ModelError(f"{CARD_FILE} cannot be written to {card.directory} ({error.strerror}).") from error


def _checked_text(card: ModelCard) -> str:
    text = json.dumps(card.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _card_from_values(json.loads(text), card.directory)
    return text


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


def _read_card(path: Path) -> ModelCard:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"The model card {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ModelError(f"The model card {path} is not valid JSON ({error}); install the model again.") from error
    return _card_from_values(values, path.parent)


def _card_from_values(values: Any, directory: Path) -> ModelCard:
    where = f"The card of model '{directory.name}'"
    if not isinstance(values, dict):
        raise ModelError(f"{where} is not a JSON object.")
    known = {entry.name: entry for entry in fields(ModelCard) if entry.name != "directory"}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ModelError(f"{where} has the unknown field {', '.join(unknown)}; it may be of a newer version.")
    missing = [name for name in known if name not in values]
    if missing:
        raise ModelError(f"{where} lacks {', '.join(missing)}.")
    _check_values(values, where)
    if values["name"] != directory.name:
        raise ModelError(f"{where} names another model, '{values['name']}': folder and card must agree.")
    lists = {name: tuple(values[name]) for name in ("clip_quantiles", "agreeing_precisions")}
    return ModelCard(**{**values, **lists}, directory=directory)


def _check_values(values: dict[str, Any], where: str) -> None:
    texts = ("name", "version", "trained_on", "validated_on", "limits", "licence", "library_version", "weights_sha256")
    for name in texts:
        if not isinstance(values[name], str) or not values[name].strip():
            raise ModelError(f"{where}: {name} must be a text that is not empty, got {values[name]!r}.")
    if Path(values["name"]).name != values["name"] or values["name"].startswith("."):
        raise ModelError(f"{where}: name must be a plain folder name, got {values['name']!r}.")
    if values["role"] not in get_args(Role):
        raise ModelError(f"{where}: role must be one of {', '.join(get_args(Role))}, got {values['role']!r}.")
    if values["method"] not in METHODS:
        raise ModelError(f"{where}: method must be one of {', '.join(METHODS)}, got {values['method']!r}.")
    for name in ("spacing_mm", "tile_voxels", "heatmap_amplitude", "heatmap_spread_voxels", "region_mm"):
        if not _is_number(values[name]) or values[name] <= 0:
            raise ModelError(f"{where}: {name} must be a positive number, got {values[name]!r}.")
    tile, overlap = values["tile_voxels"], values["overlap_voxels"]
    if not (isinstance(tile, int) and isinstance(overlap, int) and 0 <= overlap < tile):
        raise ModelError(f"{where}: overlap_voxels must be from 0 to below tile_voxels, got {overlap!r} and {tile!r}.")
    if values["region_mm"] < LEAST_EXTENT_MM:
        raise ModelError(
            f"{where}: region_mm must be at least {LEAST_EXTENT_MM:g}, since a smaller cube holds no labyrinth, "
            f"got {values['region_mm']!r}."
        )
    quantiles = values["clip_quantiles"]
    if not isinstance(quantiles, list) or tuple(quantiles) != CLIP_QUANTILES:
        raise ModelError(
            f"{where}: clip_quantiles must be {list(CLIP_QUANTILES)}, where scans are clipped here, got {quantiles!r}."
        )
    if not isinstance(values["network"], dict) or not isinstance(values["figures"], dict):
        raise ModelError(f"{where}: network and figures must be JSON objects.")
    widths, block = values["network"].get("widths"), values["network"].get("subvoxel_factor", 1)
    halvings = len(widths) - 1 if isinstance(widths, list) and widths else 0
    if not isinstance(block, int) or block < 1:
        raise ModelError(f"{where}: network.subvoxel_factor must be a positive whole number, got {block!r}.")
    if tile % (multiple := 2**halvings * block):
        blocks = f" in blocks of {block}" if block > 1 else ""
        raise ModelError(
            f"{where}: tile_voxels must be a multiple of {multiple}, since the network halves it {halvings} "
            f"times{blocks}, got {tile!r}."
        )
    usual = values["figures"].get("usual_standard_deviation")
    if usual is not None and not (_is_number(usual) and usual > 0):
        raise ModelError(f"{where}: figures.usual_standard_deviation must be a positive number, got {usual!r}.")
    precisions = values["agreeing_precisions"]
    if not isinstance(precisions, list) or not all(isinstance(entry, str) for entry in precisions):
        raise ModelError(f"{where}: agreeing_precisions must be a list of number formats, got {precisions!r}.")
    weights_file = values["weights_file"]
    if not isinstance(weights_file, str) or Path(weights_file).name != weights_file or not weights_file:
        raise ModelError(f"{where}: weights_file must be a plain file name, got {weights_file!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
