"""Convolutions of a CPU by oneDNN, whatever their size.

PyTorch gives float32 convolutions of a single small tile (channels × planes × rows up to 20480, `use_mkldnn` in ATen's
Convolution.cpp), and those of 1×1×1 on one thread, to a kernel of its own that unfolds the image first. At the lower
levels of a U-Net it takes several times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class OneDnnConvolution(nn.Conv3d):
    """`nn.Conv3d` with zero padding, in float32 on a CPU, without gradients."""

    def forward(self, features: Tensor) -> Tensor:
        """The same as of `nn.Conv3d`, to the last bits."""
        return torch.mkldnn_convolution(
            features, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


def convolve_by_onednn(network: nn.Module) -> None:
    """Has oneDNN compute every float32 convolution of a network on the CPU; without oneDNN nothing changes.

    Args:
        network: is changed; it must not be trained any more.
    """
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return
    for layer in network.modules():
        usual = type(layer) is nn.Conv3d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
        if usual and layer.weight.dtype == torch.float32:
            layer.__class__ = OneDnnConvolution
