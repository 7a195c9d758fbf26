"""Set-up of all tests."""

import os

import pytest

# Before torch is imported: networks in tests are tiny, and on a busy machine more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def one_thread():
    """Small networks on a shared processor: threads that wait for each other cost more than they save."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
