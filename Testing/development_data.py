"""Where the real anatomy for development and validation lies; it is no part of the project."""

import os
from pathlib import Path

import pytest

VARIABLE = "INNEREARAI_DEVELOPMENT_DATA"
BESIDE_THE_PROJECT = Path(__file__).resolve().parents[2] / "shared" / "data"


def development_data(name: str) -> Path:
    """The file or folder of that name in the development data; skips the calling test where there is none."""
    path = Path(os.environ.get(VARIABLE, BESIDE_THE_PROJECT)) / name
    if not path.exists():
        pytest.skip(f"{VARIABLE} names no folder with {name}, real anatomy that is no part of the project")
    return path
