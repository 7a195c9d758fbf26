"""What changes while a network learns: the learning rate, and the amplitude and spread of the heatmaps.

Every schedule is a function of progress, the share of the training that is done, 0 to 1; so the same schedule fits a
run of 7.5·10⁴ iterations and one of twenty minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WARMUP_SHARE = 0.05
"""Share of the training in which the learning rate rises; ours (the paper leaves it to its supplement)."""

ANNEALING_SHARE = 0.35
"""Share of the training in which the learning rate falls; ours."""


@dataclass(frozen=True)
class TrapezoidalRate:
    """Learning rate that rises linearly (warmup), stays (plateau) and falls linearly (annealing).

    Attributes:
        peak: learning rate of the plateau.
        warmup_share: share of the training spent rising, 0 to 1.
        annealing_share: share of the training spent falling, 0 to 1.
        final_share: learning rate at the end, as a share of the peak.

    Raises:
        ValueError: if warmup and annealing together are longer than the training.

    Source:
        Stebani et al. 2023, "Training".
    """

    peak: float
    warmup_share: float = WARMUP_SHARE
    annealing_share: float = ANNEALING_SHARE
    final_share: float = 0.01

    def __post_init__(self) -> None:
        if min(self.warmup_share, self.annealing_share) < 0 or self.warmup_share + self.annealing_share > 1:
            raise ValueError(
                f"warmup ({self.warmup_share}) and annealing ({self.annealing_share}) must be shares of the training "
                "that are not negative and together at most 1"
            )

    def at(self, progress: float) -> float:
        """Learning rate at a share of the training, 0 to 1; warmup starts at `final_share` of the peak, not at zero."""
        progress = min(max(progress, 0.0), 1.0)
        rising = progress / self.warmup_share if self.warmup_share else 1.0
        falling = (1 - progress) / self.annealing_share if self.annealing_share else 1.0
        height = min(1.0, rising, falling)
        return self.peak * (self.final_share + (1 - self.final_share) * height)


@dataclass(frozen=True)
class HeatmapShape:
    """Amplitude of a heatmap's Gaussian, and its spread (standard deviation) in voxels."""

    amplitude: float
    spread: float


@dataclass(frozen=True)
class HeatmapMilestone:
    """From this share of the training on, heatmaps have this amplitude and this spread (voxels)."""

    progress: float
    amplitude: float
    spread: float


@dataclass(frozen=True)
class HeatmapSchedule:
    """Heatmaps that grow higher and narrower at milestones.

    Attributes:
        milestones: in order of progress; the first at 0.

    Raises:
        ValueError: if no milestone is at 0, if they are out of order or after the end, or if the amplitude falls or the
            spread rises.

    Source:
        Stebani et al. 2023, "Algorithm and network architecture" (heatmap scheduling protocol).
    """

    milestones: tuple[HeatmapMilestone, ...]

    def __post_init__(self) -> None:
        if not self.milestones or self.milestones[0].progress != 0:
            raise ValueError("a heatmap schedule needs a first milestone at progress 0")
        for before, after in zip(self.milestones, self.milestones[1:], strict=False):
            if after.progress <= before.progress or after.amplitude < before.amplitude or after.spread > before.spread:
                raise ValueError(
                    f"heatmap milestones must come in order, with a rising amplitude and a falling spread; "
                    f"{after} follows {before}"
                )
        if self.milestones[-1].progress > 1:
            raise ValueError(
                f"heatmap milestones are at shares of the training, 0 to 1, got {self.milestones[-1].progress:g}"
            )
        if min(min(m.amplitude, m.spread) for m in self.milestones) <= 0:
            raise ValueError("amplitude and spread of a heatmap must be positive")

    def at(self, progress: float) -> HeatmapShape:
        """The heatmaps' shape at a share of the training: that of the last milestone passed."""
        passed = [milestone for milestone in self.milestones if milestone.progress <= progress] or self.milestones[:1]
        return HeatmapShape(passed[-1].amplitude, passed[-1].spread)

    @property
    def final(self) -> HeatmapShape:
        """The shape that the trained network is to predict."""
        return HeatmapShape(self.milestones[-1].amplitude, self.milestones[-1].spread)

    @staticmethod
    def of(rows: Sequence[Sequence[float]]) -> HeatmapSchedule:
        """The schedule written as rows of progress, amplitude, spread (voxels)."""
        return HeatmapSchedule(tuple(HeatmapMilestone(*map(float, row)) for row in rows))


NAMED_HEATMAP_SCHEDULES = {
    "constant": HeatmapSchedule.of([(0, 2, 3)]),
    "alpha": HeatmapSchedule.of([(0, 1, 8), (0.5, 2, 4)]),
    "beta": HeatmapSchedule.of([(0, 1, 8), (0.3, 1.5, 5), (0.6, 2, 3)]),
    "gamma": HeatmapSchedule.of([(0, 1, 8), (0.15, 1.5, 6), (0.3, 2, 4.5), (0.45, 3, 3.5), (0.6, 4, 2.5)]),
}
"""Heatmap schedules by name; "gamma" has the paper's letter for its gold-status schedule. The numbers are ours, since
the paper's are in its supplement. The energy of a heatmap goes with amplitude²·spread³: the amplitude rises so that it
falls slowly while the peaks get narrow, and they stay learnable against the empty voxels around them."""
