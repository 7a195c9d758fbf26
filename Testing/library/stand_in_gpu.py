"""A GPU that is not there: tensors that say they lie on one, are computed on the host, and keep apart as real ones do.

What a CUDA device refuses is refused: tensors of two devices in one operation, numpy's view of a tensor on the GPU.
What it does late comes late: a copy to the host holds NaN until somebody waits for the GPU. Times, memory and rounding
are the host's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

GPU = torch.device("cuda", 0)

MAY_MIX_DEVICES = (
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put_.default,
    torch.ops.aten.index_put.default,
)
"""Transfers, and places that an index on the host names."""


class GpuTensor(torch.Tensor):
    """A tensor that says it is on the GPU; the host sees its values in `values` alone."""

    @staticmethod
    def __new__(cls, values: torch.Tensor, requires_grad: bool = False) -> GpuTensor:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device="cpu",
            requires_grad=requires_grad,
        )

    def __init__(self, values: torch.Tensor, requires_grad: bool = False) -> None:
        self.values = values

    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"GpuTensor({self.values})"

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        _refuse_two_devices(operation, args, kwargs)
        if operation is torch.ops.aten.copy_.default:
            return _copied(*args, **kwargs)
        if operation is torch.ops.aten._local_scalar_dense.default:
            Event().synchronize()
        result = operation(*tree_map(_values, args), **tree_map(_values, kwargs))
        result = tree_map(lambda value: GpuTensor(value) if isinstance(value, torch.Tensor) else value, result)
        return return_and_correct_aliasing(operation, args, kwargs, result)


class Event:
    """Waiting for it brings the copies to the host that were under way when it was recorded."""

    under_way: list[Callable[[], None]] = []  # noqa: RUF012 - there is one GPU

    def __init__(self) -> None:
        self.before = list(Event.under_way)

    def record(self, stream: object = None) -> None:
        self.before = list(Event.under_way)

    def synchronize(self) -> None:
        for copy in self.before:
            if copy in Event.under_way:
                Event.under_way.remove(copy)
                copy()


class _Transfers(TorchFunctionMode):
    """What brings tensors to the GPU, and from it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.to:
            return _moved(*args, **kwargs)
        if function is torch.Tensor.cpu:
            return _moved(args[0], "cpu")
        if function is torch.Tensor.cuda:
            return _moved(args[0], GPU)
        if function is torch.Tensor.pin_memory:
            return args[0].clone()
        kwargs.pop("pin_memory", None)
        if "device" in kwargs and kwargs["device"] is not None and torch.device(kwargs["device"]).type == "cuda":
            return GpuTensor(function(*args, **kwargs | {"device": "cpu"}))
        return function(*args, **kwargs)


@contextmanager
def stand_in_gpu(monkeypatch) -> Iterator[torch.device]:
    """A computer with one GPU, in this thread."""
    stand_ins = {
        "Event": Event,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_stream": lambda device=None: None,
        "synchronize": lambda device=None: Event().synchronize(),
        "empty_cache": lambda: None,
        "get_device_capability": lambda device=None: (9, 0),
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_device_name": lambda device=None: "Stand-in",
        "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda state, device=None: None,
    }
    Event.under_way.clear()
    with monkeypatch.context() as patched, _Transfers():
        # Else modules that move put the new values into their old parameters, which stay tensors of the host.
        patched.setattr(torch.__future__, "get_overwrite_module_params_on_conversion", lambda: True)
        for name, value in stand_ins.items():
            patched.setattr(torch.cuda, name, value)
        yield GPU


def _values(value):
    return value.values if isinstance(value, GpuTensor) else value


def _refuse_two_devices(operation, args, kwargs) -> None:
    others = [value for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    if operation not in MAY_MIX_DEVICES and any(not isinstance(value, GpuTensor) and value.dim() for value in others):
        raise RuntimeError(f"{operation}: expected all tensors to be on the same device, found cuda:0 and cpu")


def _copied(target: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    if isinstance(target, GpuTensor) or not non_blocking:
        Event().synchronize()
        _values(target).copy_(_values(source))
        return target
    sent = source.values.clone()
    target.fill_(float("nan"))
    Event.under_way.append(lambda: target.copy_(sent))
    return target


def _moved(tensor: torch.Tensor, *args, non_blocking: bool = False, copy: bool = False, **kwargs) -> torch.Tensor:
    """What Tensor.to does: to a device, a dtype, a memory format, or another tensor's device and dtype."""
    named = [*args, *kwargs.values()]
    like = next((value for value in named if isinstance(value, torch.Tensor)), None)
    device = next((torch.device(value) for value in named if isinstance(value, (str, torch.device))), tensor.device)
    dtype = next((value for value in named if isinstance(value, torch.dtype)), tensor.dtype)
    if like is not None:
        device, dtype = like.device, like.dtype
    if device.type != tensor.device.type:
        Event().synchronize()
        with torch._C.DisableTorchFunction():
            tensor = GpuTensor(tensor.detach().clone()) if device.type == "cuda" else tensor.values.detach().clone()
    form = {"memory_format": kwargs["memory_format"]} if kwargs.get("memory_format") is not None else {}
    with torch._C.DisableTorchFunction():
        return tensor.to(dtype=dtype, copy=copy, **form)
