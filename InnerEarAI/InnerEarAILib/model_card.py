"""The card of a model: what it is, what it was trained on and how far it may be trusted, as model.json says it.

Cards are read and checked without torch, so that a panel can list the models before anything is computed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from InnerEarAILib.networks.methods import DUAL_HEAD_UNET, METHODS
from InnerEarAILib.preprocessing import CLIP_QUANTILES
from InnerEarAILib.scan_checks import LEAST_EXTENT_MM

Role = Literal["segmenter", "locator"]

CARD_FILE = "model.json"

VIEWS_KEY = "views_taught"
"""Under this key of a card's figures stands `ModelCard.views_taught`."""

ALL_VIEWS = 10
"""As in Stebani et al. 2023; nine of them are turned by 90° or more."""


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

    @property
    def views_taught(self) -> int:
        """Rotated views of a scan that the network can bear: 1 if it was taught no quarter turns, else ALL_VIEWS."""
        return int(self.figures.get(VIEWS_KEY, ALL_VIEWS))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the directory."""
        values = asdict(self)
        del values["directory"]
        return values


def read_card(path: Path) -> ModelCard:
    """The card in a file.

    Args:
        path: of model.json in a folder of the model's name.

    Raises:
        ModelError: if it cannot be read, or its values are not allowed.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"The model card {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ModelError(f"The model card {path} is not valid JSON ({error}); install the model again.") from error
    return _card_from_values(values, path.parent)


def card_text(card: ModelCard) -> str:
    """A card as the text of its file.

    Args:
        card: with the folder it is of.

    Raises:
        ModelError: if its values are not allowed.
    """
    text = json.dumps(card.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _card_from_values(json.loads(text), card.directory)
    return text


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
    _check_texts(values, where)
    _check_sizes(values, where)
    if not isinstance(values["network"], dict) or not isinstance(values["figures"], dict):
        raise ModelError(f"{where}: network and figures must be JSON objects.")
    _check_network(values["network"], values["tile_voxels"], where)
    usual = values["figures"].get("usual_standard_deviation")
    if usual is not None and not (_is_number(usual) and usual > 0):
        raise ModelError(f"{where}: figures.usual_standard_deviation must be a positive number, got {usual!r}.")
    precisions = values["agreeing_precisions"]
    if not isinstance(precisions, list) or not all(isinstance(entry, str) for entry in precisions):
        raise ModelError(f"{where}: agreeing_precisions must be a list of number formats, got {precisions!r}.")
    weights_file = values["weights_file"]
    if not isinstance(weights_file, str) or Path(weights_file).name != weights_file or not weights_file:
        raise ModelError(f"{where}: weights_file must be a plain file name, got {weights_file!r}.")


def _check_texts(values: dict[str, Any], where: str) -> None:
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


def _check_sizes(values: dict[str, Any], where: str) -> None:
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


def _check_network(network: dict[str, Any], tile: int, where: str) -> None:
    """Refuses a network that cannot be asked about tiles of that many voxels."""
    widths, block = network.get("widths"), network.get("subvoxel_factor", 1)
    halvings = len(widths) - 1 if isinstance(widths, list) and widths else 0
    if not isinstance(block, int) or block < 1:
        raise ModelError(f"{where}: network.subvoxel_factor must be a positive whole number, got {block!r}.")
    if tile % (multiple := 2**halvings * block):
        blocks = f" in blocks of {block}" if block > 1 else ""
        raise ModelError(
            f"{where}: tile_voxels must be a multiple of {multiple}, since the network halves it {halvings} "
            f"times{blocks}, got {tile!r}."
        )


def _is_number(value: Any) -> bool:
    # As Python 3.9 can read it: an older Slicer lists the models before it is said to be too old.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
