"""Runs that begin with the weights of a trained network."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from InnerEarAILib.model_store import load_card, load_network
from InnerEarAILib.training.configuration import ConfigurationError
from InnerEarAILib.training.run_folder import read_metrics
from InnerEarAILib.training.samples import collate
from library.tiny_training import BallSource, InterruptedSource, tiny_config, tiny_trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of twelve passes from beginning to end."""
    torch.set_num_threads(1)
    trainer = tiny_trainer(tmp_path_factory.mktemp("undisturbed") / "run")
    trainer.run()
    return trainer


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
