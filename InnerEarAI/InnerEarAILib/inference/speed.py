"""How fast is this computer? One trial of a model, so that a run's time can be told before it begins.

Torch is imported when something is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.model_store import load_network

if TYPE_CHECKING:
    import torch

LONGEST_TRIAL_SECONDS = 2.0
"""A first trial that takes longer counts; shorter ones are repeated, since the first also prepares the device; ours."""


@dataclass(frozen=True)
class Speed:
    """How fast a model is on a device.

    Attributes:
        model: name of the model.
        device: "cpu", "cuda:0", …
        precision: number format of the network: "float32", "bfloat16" or "float16".
        seconds_per_tile: for one view of one tile, the network and the merging.
    """

    model: str
    device: str
    precision: str
    seconds_per_tile: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Speed:
        """The speed that `to_dict` described.

        Raises:
            ValueError: if these are not its values.
        """
        try:
            return Speed(
                str(values["model"]),
                str(values["device"]),
                str(values["precision"]),
                float(values["seconds_per_tile"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the values of a speed: {values!r}") from error


def measure_speed(card: ModelCard, device: torch.device | str = "cpu") -> Speed:
    """Measures a model on noise, by the route that a scan takes: a second or two for the shipped models on a CPU.

    Args:
        card: of an installed model.
        device: where it will run.

    Raises:
        ModelError: if the weights cannot be used.
    """
    import torch

    from InnerEarAILib.inference.execution_plan import usual_batch_size
    from InnerEarAILib.inference.predictor import predict
    from InnerEarAILib.networks.subvoxels import computed_edge

    device = torch.device(device)
    network = load_network(card, device)
    batch = usual_batch_size(device, computed_edge(network, card.tile_voxels))
    stride = card.tile_voxels - card.overlap_voxels
    shape = (card.tile_voxels, card.tile_voxels, card.tile_voxels + (batch - 1) * stride)
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for _ in range(2):
        execution = predict(
            network,
            noise,
            tile=card.tile_voxels,
            overlap=card.overlap_voxels,
            views=1,
            device=device,
            agreeing_precisions=card.agreeing_precisions,
        ).execution
        if execution["seconds"] > LONGEST_TRIAL_SECONDS:
            break
    seconds_per_tile = execution["seconds"] / execution["tiles"]
    return Speed(card.name, execution["device"], execution["precision"], seconds_per_tile)
