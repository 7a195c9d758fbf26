"""The first pass on a GPU takes seconds, since its libraries load: it is made while the scan is being prepared."""

from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np
import torch
from torch import nn

from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.model_card import ModelCard


def warm_up(network: nn.Module, card: ModelCard, device: torch.device) -> threading.Thread | None:
    """Lets a network look at an empty tile on a GPU, in the background.

    Args:
        network: stays as it is.
        card: its tile and number formats.
        device: where it will run.

    Returns:
        The thread, which ends by itself; None on a CPU, where the first pass is as fast as the others.
    """
    if device.type != "cuda":
        return None

    def first_pass() -> None:
        # Whatever is wrong with the GPU shows again, and is dealt with, when the scan itself is predicted.
        with suppress(Exception):
            predict(
                network,
                np.zeros((card.tile_voxels,) * 3, np.float32),
                tile=card.tile_voxels,
                overlap=card.overlap_voxels,
                views=1,
                device=device,
                agreeing_precisions=card.agreeing_precisions,
            )

    # No daemon: one that is in the middle of a pass when Python ends aborts the process.
    thread = threading.Thread(target=first_pass, name="GPU warm-up")
    thread.start()
    return thread
