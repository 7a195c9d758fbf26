"""A training run from its first pass to its weights: steps, checkpoints, kills, interruptions, budgets."""

from __future__ import annotations

import signal
import time
from dataclasses import replace

import pytest
import torch

from InnerEarAILib.model_store import load_card, load_network
from InnerEarAILib.training import trainer as trainer_module
from InnerEarAILib.training.configuration import ConfigurationError
from InnerEarAILib.training.losses import JointLoss, segmentation_loss
from InnerEarAILib.training.run_folder import read_metrics
from InnerEarAILib.training.samples import collate
from library.tiny_training import BallSource, InterruptedSource, started_run, tiny_config, tiny_trainer, weights

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of twelve passes from beginning to end."""
    torch.set_num_threads(1)
    trainer = tiny_trainer(tmp_path_factory.mktemp("undisturbed") / "run")
    trainer.run()
    return trainer


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


@pytest.mark.slow
def test_run_killed_twice_and_resumed_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    assert started_run(tmp_path / "whole", "fresh").wait(300) == 0
    for resume in ("fresh", "resume"):
        checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = started_run(tmp_path / "killed", resume)
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "weights-0.pt").exists()
    assert started_run(tmp_path / "killed", "resume").wait(300) == 0
    whole, killed = (torch.load(tmp_path / run / "weights-0.pt") for run in ("whole", "killed"))
    assert torch.equal(whole, killed)


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
