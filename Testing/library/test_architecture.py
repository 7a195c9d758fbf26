"""The house keeps its floors: import-linter, with the contracts of pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "InnerEarAI"


def lint(config):
    return subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()",
         "--config", str(config), "--no-cache"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(LIBRARY), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )  # fmt: skip


def test_imports_keep_to_the_floors():
    pytest.importorskip("importlinter")
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_broken_floor_is_noticed(tmp_path):
    pytest.importorskip("importlinter")
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.importlinter]")[2]
    lower, lowest = (
        "file_names | scan_checks | segmenter_options",
        "argument_types | json_lines | landmarks | progress | saying | splines | volume | whole_files",
    )
    turned = contracts.replace(f'    "{lower}",\n    "{lowest}",', f'    "{lowest}",\n    "{lower}",')
    assert turned != contracts
    (tmp_path / "pyproject.toml").write_text("[tool.importlinter]" + turned, encoding="utf-8")
    done = lint(tmp_path / "pyproject.toml")
    assert done.returncode == 1
    assert "InnerEarAILib.scan_checks -> InnerEarAILib.volume" in done.stdout


def test_floors_under_the_route_come_without_torch():
    modules = ("worker", "cli", "result_files", "scan_result_files", "model_store", "preprocessing", "time_estimate")
    script = (
        "import sys; "
        + "; ".join(f"import InnerEarAILib.{name}" for name in modules)
        + "; sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(LIBRARY)}, check=False)
    assert done.returncode == 0


def test_no_file_has_grown_out_of_a_readers_sight():
    long = {
        path.name: lines
        for path in LIBRARY.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_no_package_is_a_drawer_for_everything():
    drawers = {"utils", "helpers", "common", "misc", "util", "tools"}
    assert not [path for path in LIBRARY.rglob("*") if path.stem.lower() in drawers]
