"""The phantom's labyrinths against published morphometry: means, spreads, and correlation with size."""

import numpy as np
import pytest
import torch

from InnerEarAILib.phantom.labyrinth import Labyrinth
from InnerEarAILib.phantom.labyrinth_parameters import LabyrinthParameters, sample_labyrinth_parameters

PUBLISHED = {
    # PMC6449142 (cochlea); organ of Corti there is their duct length
    "a_value_mm": (8.75, 0.31),
    "b_value_mm": (6.53, 0.35),
    "cochlear_height_mm": (3.26, 0.24),
    "organ_of_corti_length_mm": (32.45, 1.31),
    # Stebani et al. 2023, data set A
    "helicotrema_oval_mm": (6.88, 0.59),
    "helicotrema_round_mm": (7.09, 0.47),
    "oval_round_mm": (2.91, 0.23),
    # surfaces from clinical CT, n = 71
    "anterior_canal_radius_mm": (3.22, 0.20),
    "posterior_canal_radius_mm": (3.32, 0.23),
    "lateral_canal_radius_mm": (2.56, 0.15),
    "anterior_canal_lumen_mm": (1.04, 0.05),
    "posterior_canal_lumen_mm": (1.14, 0.05),
    "lateral_canal_lumen_mm": (1.23, 0.05),
    "anterior_posterior_angle_deg": (87.1, 2.0),
    "anterior_lateral_angle_deg": (84.3, 3.7),
    "posterior_lateral_angle_deg": (87.2, 2.8),
}
VOLUME_MM3 = (188.0, 24.0)


def labyrinths(count: int) -> list[Labyrinth]:
    return [Labyrinth(sample_labyrinth_parameters(np.random.default_rng(seed))) for seed in range(count)]


def compare(figures: dict[str, np.ndarray], published: dict[str, tuple[float, float]], slack: float) -> list[str]:
    """Prints the table and names the rows that miss: `slack` is what chance adds to a mean, in published SDs."""
    missed = []
    print(f"\n{'figure':32s} {'phantom':>16s} {'published':>16s}   mean off by   SD ratio")
    for name, (mean, spread) in published.items():
        values = figures[name]
        off, ratio = (values.mean() - mean) / spread, values.std(ddof=1) / spread
        print(
            f"{name:32s} {values.mean():8.2f} ±{values.std(ddof=1):6.2f} {mean:8.2f} ±{spread:6.2f} {off:+8.2f} SD "
            f"{ratio:8.2f}"
        )
        if abs(off) > 0.3 + slack or not 1 / 1.5 < ratio < 1.5:
            missed.append(name)
    return missed


def volumes_mm3(many: list[Labyrinth]) -> np.ndarray:
    spacing = 0.35
    x, y, z = (torch.arange(-9.5, 11.5, spacing) for _ in range(3))
    grid = torch.stack(torch.meshgrid(x, y, z, indexing="ij"), -1).reshape(-1, 3)
    return np.array([float((0.5 - one.distances(grid).union / spacing).clamp(0, 1).sum()) * spacing**3 for one in many])


@pytest.fixture(scope="module")
def forty() -> list[Labyrinth]:
    return labyrinths(40)


def test_forty_labyrinths_measure_as_published(forty):
    figures = {name: np.array([one.measures[name] for one in forty]) for name in PUBLISHED}
    # Forty draws leave a standard error of 0.16 SD in a mean.
    assert compare(figures, PUBLISHED, slack=0.16) == []


def test_larger_labyrinths_are_larger_in_every_part(forty):
    size = np.array([one.parameters.size for one in forty])
    for name in ("a_value_mm", "anterior_canal_radius_mm", "helicotrema_round_mm"):
        assert np.corrcoef(size, [one.measures[name] for one in forty])[0, 1] > 0.3


def test_lengths_scale_with_the_labyrinth_and_angles_do_not():
    small, large = (Labyrinth(LabyrinthParameters(size=size)).measures for size in (0.9, 1.1))
    for name in small:
        if name.endswith("_mm"):
            # Windows are blended into the wall over a fixed width, hence not exactly 11/9.
            assert large[name] / small[name] == pytest.approx(11 / 9, rel=0.03)
        else:
            assert large[name] == pytest.approx(small[name], rel=1e-6)


@pytest.mark.slow
def test_two_hundred_labyrinths_measure_as_published():
    many = labyrinths(200)
    figures = {name: np.array([one.measures[name] for one in many]) for name in PUBLISHED}
    figures["volume_mm3"] = volumes_mm3(many)
    assert compare(figures, {**PUBLISHED, "volume_mm3": VOLUME_MM3}, slack=0.0) == []
