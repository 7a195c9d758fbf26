"""The same tiles and views through others' inferers: what the predictor is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from InnerEarAILib.inference.augmentation import choose_views
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.inference.tiling import tile_volume
from InnerEarAILib.model_card import ModelCard

OURS, MONAI, MONAI_HALF, LOOP = "predictor", "MONAI", "MONAI, half precision", "plain loop"

MONAI_BATCH = 4
"""Windows at a time, as in MONAI's own bundles."""


def contenders(
    network: nn.Module, voxels: np.ndarray, card: ModelCard, views: int, device: torch.device
) -> Mapping[str, Callable[[], np.ndarray]]:
    """Ways to the mean probability over the views, each (k, j, i) on the host.

    Args:
        network: in float32, on the device.
        voxels: normalised, (k, j, i).
        card: of the model: tiles, overlap, and the formats that the predictor may choose from.
        views: 10 or 1.
        device: where all of them compute.
    """

    def ours() -> np.ndarray:
        return predict(
            network,
            voxels,
            tile=card.tile_voxels,
            overlap=card.overlap_voxels,
            views=views,
            device=device,
            agreeing_precisions=card.agreeing_precisions,
        ).probability

    ways = {OURS: ours, MONAI: lambda: _by_monai(network, voxels, card, views, device, None)}
    if device.type == "cuda":
        ways[MONAI_HALF] = lambda: _by_monai(network, voxels, card, views, device, torch.float16)
    ways[LOOP] = lambda: _by_a_loop(network, voxels, card, views, device)
    return ways


def _by_monai(
    network: nn.Module, voxels: np.ndarray, card: ModelCard, views: int, device: torch.device, half: torch.dtype | None
) -> np.ndarray:
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        (card.tile_voxels,) * 3, MONAI_BATCH, overlap=card.overlap_voxels / card.tile_voxels, mode="gaussian"
    )
    image = torch.from_numpy(voxels)[None, None].to(device)
    mean, squares = None, None
    precision = nullcontext() if half is None else torch.autocast(device.type, half)
    with torch.no_grad(), precision:
        for view in choose_views(views):

            def of_tiles(tiles: Tensor, view=view) -> Tensor:
                output = network(view.apply(tiles))
                return view.invert(torch.cat((torch.sigmoid(output.segmentation), output.heatmaps), dim=1))

            merged = inferer(image, of_tiles)[0].float()
            mean = merged if mean is None else mean + merged
            squares = merged[0] ** 2 if squares is None else squares + merged[0] ** 2
    probability = mean[0] / views
    # Thrown away: the predictor gives the deviation as well, so that its time has to count here.
    torch.sqrt((squares / views - probability**2).clamp(min=0)).cpu()
    return probability.cpu().numpy()


def _by_a_loop(network: nn.Module, voxels: np.ndarray, card: ModelCard, views: int, device: torch.device) -> np.ndarray:
    """As one writes it down first: a tile, a view, there and back; overlaps are averaged."""
    tiling = tile_volume(voxels.shape, card.tile_voxels, card.overlap_voxels)
    image = tiling.pad(torch.from_numpy(voxels))
    of_views = []
    with torch.no_grad():
        for view in choose_views(views):
            total, count = torch.zeros(4, *image.shape), torch.zeros(image.shape)
            for start in tiling.starts_kji:
                window = tiling.window(start)
                output = network(view.apply(image[window])[None, None].to(device))
                maps = torch.cat((torch.sigmoid(output.segmentation), output.heatmaps), dim=1)[0]
                total[(slice(None), *window)] += view.invert(maps).cpu()
                count[window] += 1
            of_views.append(total / count)
    stacked = torch.stack(of_views)
    stacked[:, 0].std(dim=0, correction=0)  # likewise
    return tiling.unpad(stacked.mean(dim=0)[0]).numpy()
