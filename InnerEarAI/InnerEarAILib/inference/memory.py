"""Which exceptions mean that memory did not suffice. Without torch, whose exceptions need not have been imported."""

from __future__ import annotations

TEXTS = (
    "out of memory",  # CUDA, and cuDNN
    "not enough memory",  # the CPU allocator on Windows
    "can't allocate memory",  # the same on Linux and macOS
    "ALLOC_FAILED",  # cuDNN, cuBLAS
    "Failed to allocate memory",  # ITK
)
"""Parts of what plain RuntimeErrors say of it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory did not suffice, on whatever device."""
    # By name: where the class lies differs between versions of torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in TEXTS)
