"""A training run from its first pass to its weights: steps, checkpoints, kills, interruptions, budgets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from InnerEarAILib.model_store import load_card, load_network
from InnerEarAILib.training import trainer as trainer_module
from InnerEarAILib.training.configuration import ConfigurationError
from InnerEarAILib.training.losses import JointLoss, segmentation_loss
from InnerEarAILib.training.processes import Processes
from InnerEarAILib.training.run_folder import read_metrics
from InnerEarAILib.training.samples import collate
from library.tiny_training import BallSource, tiny_config, tiny_trainer, weights

SCRIPT = Path(__file__).with_name("tiny_training.py")
LIBRARY = Path(__file__).parents[2] / "InnerEarAI"


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of twelve passes from beginning to end."""
    torch.set_num_threads(1)
    trainer = tiny_trainer(tmp_path_factory.mktemp("undisturbed") / "run")
    trainer.run()
    return trainer


class InterruptedSource(BallSource):
    """Sends the process a signal while it prepares sample number 5."""

    def sample(self, index):
        if index == 5:
            signal.raise_signal(signal.SIGINT)
        return super().sample(index)


def test_accumulated_passes_make_the_step_of_one_large_batch(tmp_path):
    # Cross-entropy and squared error are means over samples; Dice is one number for the whole batch.
    plain = {"loss": {"segmentation": "bce"}, "heatmaps": {"schedule": "constant"}}
    steady = {"learning_rate": 1.0, "warmup_share": 0.0, "annealing_share": 0.0, "ema_decay": 0.0}
    pieces = tiny_trainer(
        tmp_path / "a", tiny_config(optimisation={"iterations": 3, "accumulation": 3, **steady}, **plain)
    )
    whole = tiny_config(optimisation={"iterations": 1, "batch": 3, "accumulation": 1, **steady}, **plain)
    whole = tiny_trainer(tmp_path / "b", whole)
    before = weights(pieces)
    assert torch.equal(before, weights(whole))
    for trainer in (pieces, whole):
        trainer._optimiser = torch.optim.SGD(trainer.network.parameters(), 1.0)
        trainer.run()
    moved = weights(whole) - before
    assert moved.abs().max() > 1e-2
    assert torch.allclose(weights(pieces) - before, moved, atol=1e-3 * float(moved.abs().max()))


def test_resumed_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path, undisturbed):
    stopped = tiny_trainer(tmp_path / "run", source=InterruptedSource())
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert 0 < stopped.state.iteration < 12
    resumed = tiny_trainer(tmp_path / "run")
    resumed.resume()
    assert resumed.state.iteration == stopped.state.iteration
    resumed.run()
    assert torch.equal(weights(resumed), weights(undisturbed))


def test_passes_of_an_unfinished_step_leave_no_trace(tmp_path):
    # Batch normalisation takes note of every pass, not of every step.
    config = tiny_config(network={"normalisation": "batch"}, optimisation={"accumulation": 4})
    whole = tiny_trainer(tmp_path / "whole", config)
    whole.run()
    stopped = tiny_trainer(tmp_path / "run", config, source=InterruptedSource())
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    assert stopped.state.iteration == 4  # two passes of the second step were made
    resumed = tiny_trainer(tmp_path / "run", config)
    resumed.resume()
    resumed.run()
    assert torch.equal(weights(resumed), weights(whole))
    buffers = zip(resumed.network.buffers(), whole.network.buffers(), strict=True)
    assert all(torch.equal(one, other) for one, other in buffers)


def test_resumed_run_has_each_report_once(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(tmp_path / "run", source=InterruptedSource()).run()
    resumed = tiny_trainer(tmp_path / "run")
    resumed.resume()
    resumed.run()
    reports = [row["iteration"] for row in read_metrics(tmp_path / "run" / "metrics.csv") if "loss" in row]
    assert reports == [4, 8, 12]


def test_interrupted_run_leaves_a_whole_step_and_usable_weights(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", source=InterruptedSource())
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert trainer.state.iteration % trainer.config.optimisation.accumulation == 0
    card = load_card("tiny", tmp_path / "run" / "last")
    network = load_network(card)
    assert card.version.endswith(f"-{trainer.state.iteration}")
    kept = torch.cat([weight.reshape(-1) for weight in network.parameters()])
    average = torch.cat([weight.reshape(-1) for weight in trainer.average.network.parameters()])
    assert torch.allclose(kept, average, atol=1e-3)  # a model folder keeps half precision


def test_signal_handlers_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(tmp_path / "run", source=InterruptedSource()).run()
    assert signal.getsignal(signal.SIGINT) is before


def test_run_learns(undisturbed):
    rows = [row for row in read_metrics(undisturbed.folder / "metrics.csv") if "loss" in row]
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_metrics_table_follows_the_schedules(undisturbed):
    config = undisturbed.config
    rows = [row for row in read_metrics(undisturbed.folder / "metrics.csv") if "loss" in row]
    for row in rows:
        progress = (row["iteration"] - 1) / config.optimisation.iterations
        assert row["learning_rate"] == pytest.approx(config.optimisation.rate.at(progress), rel=1e-4)
        assert row["heatmap_spread"] == config.heatmaps.at(progress).spread
        assert row["iterations_per_second"] > 0
        assert 0 <= row["waiting_share"] <= 1


def test_validation_comes_when_it_is_due_and_at_the_end(undisturbed):
    rows = read_metrics(undisturbed.folder / "metrics.csv")
    assert [row["iteration"] for row in rows if "validation_loss" in row] == [6, 12, 12]


def test_exported_folders_load_with_the_networks_own_numbers(undisturbed):
    for which in ("last", "best"):
        card = load_card("tiny", undisturbed.folder / which)
        network = load_network(card)
        assert network.config.widths == (4, 6, 8)
        assert (card.spacing_mm, card.tile_voxels) == (0.5, 16)
        final = undisturbed.config.heatmaps.final
        assert (card.heatmap_amplitude, card.heatmap_spread_voxels) == (final.amplitude, final.spread)
        assert "validation_dice" in card.figures


def test_best_weights_are_those_of_the_best_validation(tmp_path, monkeypatch):
    scores = iter((0.5, 0.9, 0.7))
    real = trainer_module.validate
    monkeypatch.setattr(trainer_module, "validate", lambda *given: replace(real(*given), score=next(scores)))
    config = tiny_config(optimisation={"iterations": 4}, watch={"validate_every": 2})
    tiny_trainer(tmp_path / "run", config).run()
    assert load_card("tiny", tmp_path / "run" / "best").figures["validation_score"] == 0.9
    assert load_card("tiny", tmp_path / "run" / "last").figures["validation_score"] == 0.7


def test_time_budget_ends_the_run_and_its_schedules(tmp_path):
    seldom = {"validate_every": 10**6, "checkpoint_minutes": 10, "report_every": 1}
    config = tiny_config(optimisation={"iterations": 1_000_000}, watch=seldom)
    trainer = tiny_trainer(tmp_path / "run", config, minutes=4 / 60)
    trainer.run()
    # The iterations would have taken days.
    assert trainer.state.iteration < config.optimisation.iterations
    last = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "loss" in row][-1]
    assert last["learning_rate"] < 0.5 * config.optimisation.learning_rate
    assert last["heatmap_spread"] == config.heatmaps.final.spread
    assert load_network(load_card("tiny", tmp_path / "run" / "last")).config == config.network


def test_run_resumed_with_the_same_minutes_is_as_far_as_it_was(tmp_path):
    watch = {"validate_every": 2, "checkpoint_minutes": 10, "report_every": 1}
    config = tiny_config(optimisation={"iterations": 1_000_000}, watch=watch)
    stopped = tiny_trainer(tmp_path / "run", config, source=InterruptedSource(), minutes=4 / 60)
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = tiny_trainer(tmp_path / "run", config, minutes=4 / 60)
    resumed.resume()
    # What a validation takes has been measured; a guess in its place would turn the schedules back.
    assert resumed.state.reserved == stopped.state.reserved > 0
    assert resumed.progress >= min(1, stopped.state.seconds / (4 - stopped.state.reserved))


def test_nothing_to_resume_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="nothing to resume"):
        tiny_trainer(tmp_path / "run").resume()


def test_checkpoint_of_another_network_is_refused(tmp_path, undisturbed):
    other = tiny_trainer(undisturbed.folder, tiny_config(network={"widths": [4, 6, 10]}))
    with pytest.raises(ConfigurationError, match="another network"):
        other.resume()


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_optimiser_of_the_configuration_is_used_and_resumed(tmp_path, optimiser):
    settings = {"optimiser": optimiser, "momentum": 0.9, "learning_rate": 1e-3}
    config = tiny_config(optimisation={"iterations": 8, **settings})
    whole = tiny_trainer(tmp_path / "whole", config)
    whole.run()
    assert type(whole._optimiser).__name__.lower() == optimiser
    with pytest.raises(KeyboardInterrupt):
        tiny_trainer(tmp_path / "run", config, source=InterruptedSource()).run()
    resumed = tiny_trainer(tmp_path / "run", config)
    resumed.resume()
    resumed.run()
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("kind", ["dice", "squared_dice", "log_cosh_dice", "bce"])
def test_segmentation_loss_of_the_configuration_is_the_one_trained_with(tmp_path, kind):
    config = tiny_config(loss={"segmentation": kind, "heatmap_weight": 0.0}, network={"deep_supervision": False})
    trainer = tiny_trainer(tmp_path / "run", config)
    batch = collate([BallSource().sample(0)])
    output = trainer.network(batch.image)
    terms = JointLoss(config.loss)(output, batch, config.heatmaps.final)
    assert terms.total.item() == pytest.approx(segmentation_loss(kind)(output.segmentation, batch.labyrinth).item())


@pytest.mark.parametrize("heads", ["segmentation", "heatmaps"])
def test_single_task_network_trains_and_is_exported(tmp_path, heads):
    config = tiny_config(network={"heads": heads}, optimisation={"iterations": 4})
    figures = tiny_trainer(tmp_path / "run", config).run()
    assert (figures.dice == figures.dice) == (heads == "segmentation")
    assert (figures.oval_window_mm == figures.oval_window_mm) == (heads == "heatmaps")
    network = load_network(load_card("tiny", tmp_path / "run" / "last"))
    assert network.config.heads == heads


def script(folder, resume, iterations=60, command=(sys.executable,)):
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"}
    arguments = [*command, str(SCRIPT), str(folder), resume, str(iterations)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_run_killed_twice_and_resumed_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    assert script(tmp_path / "whole", "fresh").wait(300) == 0
    for resume in ("fresh", "resume"):
        checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = script(tmp_path / "killed", resume)
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "weights-0.pt").exists()
    assert script(tmp_path / "killed", "resume").wait(300) == 0
    whole, killed = (torch.load(tmp_path / run / "weights-0.pt") for run in ("whole", "killed"))
    assert torch.equal(whole, killed)


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


def test_interrupted_run_is_kept_before_it_is_validated(tmp_path, monkeypatch):
    def killed(*given):
        raise SystemExit

    monkeypatch.setattr(trainer_module, "validate", killed)
    seldom = tiny_config(watch={"checkpoint_minutes": 10, "validate_every": 100})
    trainer = tiny_trainer(tmp_path / "run", seldom, source=InterruptedSource())
    with pytest.raises(SystemExit):
        trainer.run()
    resumed = tiny_trainer(tmp_path / "run", seldom)
    resumed.resume()
    assert resumed.state.iteration == trainer.state.iteration > 0


@pytest.mark.slow
def test_two_processes_train_as_one_with_their_accumulation_together(tmp_path):
    assert script(tmp_path / "one", "fresh", 12).wait(300) == 0
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert script(tmp_path / "two", "fresh", 12, torchrun).wait(300) == 0
    one = torch.load(tmp_path / "one" / "weights-0.pt")
    first, second = (torch.load(tmp_path / "two" / f"weights-{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    assert torch.allclose(one, first, atol=1e-4)
    fresh = weights(tiny_trainer(tmp_path / "start"))
    assert (one - fresh).abs().max() > 3e-3


def test_run_begins_with_given_weights_and_their_final_heatmaps(tmp_path, undisturbed):
    card = load_card("tiny", undisturbed.folder / "last")
    trainer = tiny_trainer(tmp_path / "run", tiny_config(optimisation={"iterations": 4, "learning_rate": 1e-9}))
    trainer.begin_with(load_network(card), f"{card.name} {card.version}")
    trainer.run()
    written = load_card("tiny", tmp_path / "run" / "last")
    begun = torch.cat([weight.reshape(-1) for weight in load_network(card).parameters()])
    kept = torch.cat([weight.reshape(-1) for weight in load_network(written).parameters()])
    assert torch.allclose(begun, kept, atol=1e-4)
    assert f"began with the weights of {card.name} {card.version}" in written.trained_on
    assert int(written.version.split("-")[1]) == int(card.version.split("-")[1]) + 4
    final = trainer.config.heatmaps.final
    reports = [row for row in read_metrics(tmp_path / "run" / "metrics.csv") if "loss" in row]
    assert {(row["heatmap_amplitude"], row["heatmap_spread"]) for row in reports} == {(final.amplitude, final.spread)}


def test_resumed_run_knows_what_it_began_with(tmp_path, undisturbed):
    card = load_card("tiny", undisturbed.folder / "last")
    stopped = tiny_trainer(tmp_path / "run", source=InterruptedSource())
    stopped.begin_with(load_network(card), "tiny 1")
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = tiny_trainer(tmp_path / "run")
    resumed.resume()
    assert resumed.state.begun_with == "tiny 1"


def test_weights_of_another_network_are_refused(tmp_path, undisturbed):
    card = load_card("tiny", undisturbed.folder / "last")
    trainer = tiny_trainer(tmp_path / "run", tiny_config(network={"widths": [4, 6, 10]}))
    with pytest.raises(ConfigurationError, match="another network"):
        trainer.begin_with(load_network(card), "tiny 1")


def test_run_of_a_network_for_finer_voxels_begins_with_the_coarser_one(tmp_path, undisturbed):
    card = load_card("tiny", undisturbed.folder / "last")
    trainer = tiny_trainer(tmp_path / "run", tiny_config(network={"widths": [4, 6, 8], "subvoxel_factor": 2}))
    balls = collate([BallSource().sample(n) for n in range(2)]).image
    trainer.begin_with(load_network(card), "tiny 1")
    with torch.no_grad():
        said = load_network(card)(functional.avg_pool3d(balls, 2)).segmentation
        for network in (trainer.network, trainer.average.network):
            says = network.eval()(balls).segmentation
            torch.testing.assert_close(functional.avg_pool3d(says, 2), said, atol=1e-4, rtol=1e-4)
    assert trainer.state.begun_with == "tiny 1"
