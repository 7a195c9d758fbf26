"""The methods by name: which network a card or a configuration means. Names are known without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

DUAL_HEAD_UNET = "dual_head_unet"

METHODS = {
    DUAL_HEAD_UNET: "labyrinth and landmarks by one network with two heads, or one of the heads alone",
    "jsdnet": "displacement maps first, then labyrinth and landmarks together",
    "autocasnet": "labyrinth by a cascade of 2D networks, or by one of them",
}
"""What each method is."""

ARCHITECTURES = {
    DUAL_HEAD_UNET: "Dual-head 3D U-Net (Stebani et al. 2023)",
    "jsdnet": "JSDNet (Zhang et al. 2020, as in Stebani et al. 2023)",
    "autocasnet": "AutoCasNet, 2D networks (Hussain et al. 2021)",
}
"""The network of each method, and where it was published."""


def network_config(method: str, values: Mapping[str, Any]) -> Any:
    """The configuration of a method's network with these fields, the others at their defaults.

    Raises:
        ValueError: if there is no such method, a field is unknown or its value is not allowed.
    """
    kind = _classes(method)[0]
    known = [entry.name for entry in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"unknown network field {', '.join(unknown)}; known are {', '.join(known)}")
    return kind(**values)


def build_network(method: str, config: Any) -> nn.Module:
    """A method's network with fresh weights.

    Args:
        method: a key of METHODS.
        config: of `network_config`.

    Raises:
        ValueError: if there is no such method.
    """
    return _classes(method)[1](config)


def draws_labyrinth_and_landmarks(method: str, values: Mapping[str, Any]) -> bool:
    """Whether a network with these fields draws the labyrinth and the landmarks both."""
    return method == "jsdnet" or (method == DUAL_HEAD_UNET and values.get("heads", "both") == "both")


def draws_heatmaps(method: str, values: Mapping[str, Any]) -> bool:
    """Whether a network with these fields draws heatmaps of the landmarks, with the labyrinth or without it."""
    return method == "jsdnet" or (method == DUAL_HEAD_UNET and values.get("heads", "both") != "segmentation")


def _classes(method: str) -> tuple[Any, Any]:
    if method == DUAL_HEAD_UNET:
        from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig

        return DualHeadUNetConfig, DualHeadUNet
    if method == "jsdnet":
        from InnerEarAILib.networks.jsdnet import JSDNet, JSDNetConfig

        return JSDNetConfig, JSDNet
    if method == "autocasnet":
        from InnerEarAILib.networks.autocasnet import AutoCasNet, AutoCasNetConfig

        return AutoCasNetConfig, AutoCasNet
    raise ValueError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
