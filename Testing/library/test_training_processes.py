"""Processes that train together: who makes which passes, what they share, what one goes on with."""

from __future__ import annotations

import sys

import pytest
import torch

from InnerEarAILib.model_store import load_card
from InnerEarAILib.training.processes import Processes
from library.tiny_training import BallSource, InterruptedSource, started_run, tiny_config, tiny_trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")


class OneOf(Processes):
    """A process of several that never meets the others."""

    def average_gradients(self, network):
        del network

    def agree(self, values, device):
        del device
        return list(values)


class WatchedSource(BallSource):
    """Keeps the numbers of the samples it was asked for."""

    def __init__(self):
        self.asked = []

    def sample(self, index):
        self.asked.append(index)
        return super().sample(index)


@pytest.mark.parametrize(
    ("accumulation", "count", "passes"), [(15, 1, 15), (15, 3, 5), (15, 4, 4), (1, 4, 1), (2, 8, 1)]
)
def test_accumulation_is_shared_out_among_processes(accumulation, count, passes):
    assert Processes(0, count).passes_of_step(accumulation) == passes


def test_processes_share_the_iterations_of_one(tmp_path):
    asked, steps = [], []
    for rank in (0, 1):
        source, config = WatchedSource(), tiny_config(optimisation={"iterations": 8, "accumulation": 4})
        trainer = tiny_trainer(tmp_path / str(rank), config, source=source, processes=OneOf(rank, 2))
        step = trainer._optimiser.step
        trainer._optimiser.step = lambda step=step, rank=rank: (steps.append(rank), step())
        trainer.run()
        assert trainer.state.iteration == 8
        asked.append(source.asked[:4])
    assert asked == [[0, 2, 4, 6], [1, 3, 5, 7]]
    assert steps == [0, 0, 1, 1]


def test_accumulation_that_processes_cannot_share_is_said_and_stands_on_the_card(tmp_path):
    said = []
    config = tiny_config(optimisation={"iterations": 16, "accumulation": 15})
    tiny_trainer(tmp_path / "run", config, processes=OneOf(0, 4), say=said.append).run()
    assert (
        "4 processes, 4 passes each for a step: 16 in all instead of 15, which 4 processes cannot share evenly." in said
    )
    trained_on = load_card("tiny", tmp_path / "run" / "last").trained_on
    assert "16 iterations of one tile" in trained_on
    assert "for each of 4 processes, 16 passes to a step" in trained_on


def test_run_of_one_process_is_gone_on_with_by_several(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(tmp_path / "run", source=InterruptedSource()).run()
    source = WatchedSource()
    resumed = tiny_trainer(tmp_path / "run", source=source, processes=OneOf(1, 4))
    resumed.resume()
    begun = resumed.state.iteration
    before = weights(resumed)
    resumed.run()
    assert source.asked[0] == begun + 1
    assert not torch.equal(before, weights(resumed))


@pytest.mark.parametrize("resume", [False, True])
def test_processes_begin_with_the_same_weights_and_drop_differently(tmp_path, resume):
    def drawn(rank):
        trainer = tiny_trainer(tmp_path / "run", processes=OneOf(rank, 2))
        if resume:
            trainer.resume()
        begun = weights(trainer)
        trainer._begin_together()
        return begun, torch.rand(4)

    if resume:
        tiny_trainer(tmp_path / "run").run()
    (first, dropped), (second, otherwise) = drawn(0), drawn(1)
    assert torch.equal(first, second)
    assert not torch.equal(dropped, otherwise)


@pytest.mark.slow
def test_two_processes_train_as_one_with_their_accumulation_together(tmp_path):
    assert started_run(tmp_path / "one", "fresh", 12).wait(300) == 0
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert started_run(tmp_path / "two", "fresh", 12, torchrun).wait(300) == 0
    one = torch.load(tmp_path / "one" / "weights-0.pt")
    first, second = (torch.load(tmp_path / "two" / f"weights-{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    assert torch.allclose(one, first, atol=1e-4)
    fresh = weights(tiny_trainer(tmp_path / "start"))
    assert (one - fresh).abs().max() > 3e-3
