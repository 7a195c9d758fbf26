"""What each step of a training is taken with: the rate, the heatmaps' shape, and what the average keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from InnerEarAILib.training.optimiser import MovingAverage
from library.tiny_training import tiny_config, tiny_trainer

pytestmark = pytest.mark.usefixtures("one_thread")

SELDOM = {"validate_every": 100, "checkpoint_minutes": 10}


class WatchedObjective:
    """An objective that keeps the heatmap shapes it is given."""

    def __init__(self, objective):
        self._objective, self.stages, self.begin = objective, objective.stages, objective.begin
        self.heatmaps = []

    def __call__(self, network, batch, heatmap, stage):
        self.heatmaps.append(heatmap)
        return self._objective(network, batch, heatmap, stage)


def test_each_step_is_taken_at_the_rate_of_the_schedule(tmp_path):
    config = tiny_config(optimisation={"warmup_share": 0.4, "annealing_share": 0.4}, watch=SELDOM)
    trainer = tiny_trainer(tmp_path / "run", config)
    optimiser, rates = trainer._optimiser, []
    step = optimiser.step
    optimiser.step = lambda: (rates.append(optimiser.param_groups[0]["lr"]), step())
    trainer.run()
    # A step is taken with every second of the twelve passes; its rate is that of the passes done before.
    expected = [config.optimisation.rate.at(done / 12) for done in (1, 3, 5, 7, 9, 11)]
    assert rates == pytest.approx(expected)
    assert rates[0] < rates[1] < rates[2] > rates[4] > rates[5]


def test_each_pass_is_judged_by_the_heatmaps_of_the_schedule(tmp_path):
    config = tiny_config(watch=SELDOM)
    trainer = tiny_trainer(tmp_path / "run", config)
    trainer._objective = WatchedObjective(trainer._objective)
    trainer.run()
    assert trainer._objective.heatmaps == [config.heatmaps.at(done / 12) for done in range(12)]
    assert len(set(trainer._objective.heatmaps)) == len(config.heatmaps.milestones)


def test_average_keeps_what_batch_normalisation_has_seen():
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    average = MovingAverage(network, 0.9)
    for step in (1, 2):
        network(torch.full((1, 1, 5, 5, 5), 3.0 * step))
        average.update(network, step)
    kept, seen = dict(average.network.named_buffers()), dict(network.named_buffers())
    assert seen["1.running_mean"].abs().max() > 0.01
    assert seen["1.num_batches_tracked"] == 2
    for name, value in seen.items():
        assert torch.equal(kept[name], value), name
