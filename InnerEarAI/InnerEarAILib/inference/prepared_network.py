"""A network made ready to run: a copy where the plan wants it, in its number format and the fastest layout."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from InnerEarAILib.inference.execution_plan import ExecutionPlan
from InnerEarAILib.inference.onednn import convolve_by_onednn

EXACT_LAYERS = ("segmentation_head.levels.0.convolutions.1", "segmentation_head.output")
"""What stays in float32 beside bfloat16: the last layers before the probability, whose rounding no normalisation
follows. Rounded, they shift the whole surface of the labyrinth in one direction, the same in all views: on the embedded
phantom Dice falls from 0.9995 to 0.9990 of float32. They cost a tenth of the time."""


def prepared_network(network: nn.Module, plan: ExecutionPlan, heatmaps: bool = True) -> nn.Module:
    """A copy of a network, where and in the number format that the plan wants, in evaluation mode.

    Args:
        network: stays as it is.
        plan: where it will run.
        heatmaps: False leaves out the decoder of the heatmaps where there is one beside that of the segmentation: two
            fifths of the work.
    """
    light = copy.copy(network)
    if not heatmaps and None not in (getattr(network, head, None) for head in ("segmentation_head", "heatmap_head")):
        # The dictionary of submodules is what a shallow copy shares with the caller's network.
        light._modules = {**network._modules, "heatmap_head": None}
    exact = _exact_layers(light) if plan.precision == "bfloat16" else {}
    # Every weight is converted once, on its way into the copy; one that needs no conversion is shared.
    copied = {id(weight): _converted(weight, plan, torch.float32) for weight in _weights(exact.values())}
    copied |= {
        id(weight): _converted(weight, plan, getattr(torch, plan.precision))
        for weight in _weights([light])
        if id(weight) not in copied
    }
    own = copy.deepcopy(light, copied).eval()
    for name in exact:
        own.get_submodule(name).register_forward_pre_hook(lambda _, features: (features[0].float(),))
    if plan.device.type == "cpu":
        convolve_by_onednn(own)
    return own


def _exact_layers(network: nn.Module) -> dict[str, nn.Module]:
    return {name: layer for name, layer in network.named_modules() if name in EXACT_LAYERS}


def _weights(networks: Iterable[nn.Module]) -> Iterator[Tensor]:
    for network in networks:
        yield from network.parameters()
        yield from network.buffers()


def _converted(weight: Tensor, plan: ExecutionPlan, dtype: torch.dtype) -> Tensor:
    """A weight where and as the plan wants it; convolutions of volumes in the layout that is the fastest."""
    layout = torch.channels_last_3d if weight.ndim == 5 else torch.preserve_format
    data = weight.detach().to(plan.device, dtype if weight.is_floating_point() else weight.dtype, memory_format=layout)
    return nn.Parameter(data, requires_grad=False) if isinstance(weight, nn.Parameter) else data
