"""Set-up of all tests."""

import os

# Before torch is imported: networks in tests are tiny, and on a busy machine more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
