"""The wheel brings all that a shell needs: the library, its configurations, and the models."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_holds_the_models_and_the_configurations(tmp_path):
    tree = tmp_path / "tree"
    for folder in ("InnerEarAI", "models"):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(tree)]
    subprocess.run(build, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    for model in (ROOT / "models").glob("*/*"):
        assert f"InnerEarAILib/models/{model.parent.name}/{model.name}" in held
    for configuration in (ROOT / "InnerEarAI").glob("InnerEarAILib/**/*.toml"):
        assert configuration.relative_to(ROOT / "InnerEarAI").as_posix() in held
