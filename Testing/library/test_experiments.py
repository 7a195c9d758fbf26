"""Every method from a small set of drawn ears to the tables, at the smallest scale that shows an ear."""

from __future__ import annotations

import csv

import pytest
import torch

from InnerEarAILib.cli import main
from InnerEarAILib.evaluation import phantom_cases
from InnerEarAILib.evaluation.phantom_set import PhantomSet, draw_phantom_set

SPACING_MM, TILE = 0.8, 28

TINY = f"""
spacing_mm = {SPACING_MM}
tile_voxels = {TILE}
[optimisation]
accumulation = 1
batch = 1
learning_rate = 4e-3
precision = "fp32"
iterations = ITERATIONS
ema_decay = 0.9
[watch]
workers = 0
validate_every = 1000
[data]
validation_cases = 1
validation_tiles = 1
tiles = "whole"
region_mm = {SPACING_MM * TILE}
[network]
widths = WIDTHS
"""

METHODS = {
    # configuration: iterations, widths, least Dice on the ear that was held out
    "base": (120, [6, 12, 18], 0.5),
    "jsdnet_unaugmented": (200, [6, 12, 18], 0.4),
    "autocasnet": (360, [6, 12, 18], 0.4),
    "unet_2d": (120, [6, 12, 18], 0.4),
    "residual_unet_2d": (120, [6, 12, 18], 0.3),
    "squeeze_excitation_unet_2d": (120, [6, 12, 18], 0.3),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phantom_cases, "TRUTH_SPACING_MM", 0.4)
        patch.setattr(phantom_cases, "DRAWN_MM", 34.0)
        patch.setattr(phantom_cases, "FIELD_MM", 26.0)
        wanted = PhantomSet(4, SPACING_MM, "multi_slice")
        return draw_phantom_set(tmp_path_factory.mktemp("drawn"), wanted)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_methods_are_trained_and_judged_side_by_side(tmp_path, drawn):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    models = []
    for name, (iterations, widths, _) in METHODS.items():
        text = TINY.replace("ITERATIONS", str(iterations)).replace("WIDTHS", str(widths))
        path = tmp_path / f"{name}.toml"
        path.write_text(f'like = "{name}"\nname = "{name}"\n{text}', encoding="utf-8")
        run = tmp_path / "runs" / name
        assert main(["train", str(path), "--data", str(drawn), "--device", "cpu", "-o", str(run)]) == 0
        models.append(str(run / "best" / name))
    chosen = ["--data", str(drawn), "--views", "1", "--device", "cpu", "-o", str(tmp_path / "out")]
    assert main(["evaluate", "--model", *models, *chosen]) == 0
    torch.set_num_threads(threads)
    rows = list(csv.DictReader((tmp_path / "out" / "cases.csv").read_text(encoding="utf-8").splitlines()))
    dice = {row["model"]: float(row["dice"]) for row in rows}
    assert {name: value for name, value in dice.items() if value < METHODS[name][2]} == {}
    assert set(dice) == set(METHODS)
    tables = (tmp_path / "out" / "tables.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in tables for name in METHODS)
