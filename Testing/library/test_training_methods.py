"""Training in stages: JSDNet's two, a cascade's one a plane; what each trains, keeps, resumes and leaves."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch

from InnerEarAILib.model_store import load_card, load_network
from InnerEarAILib.networks.autocasnet import AutoCasNet, slices_along
from InnerEarAILib.training.augmentation import AUGMENTATIONS
from InnerEarAILib.training.losses import displacement_error, displacement_truth
from InnerEarAILib.training.manifest import read_manifest
from InnerEarAILib.training.manifest_dataset import ManifestSource, prepare_case, validation_tiles
from InnerEarAILib.training.objectives import SliceObjective, make_objective, stage_at
from InnerEarAILib.training.run_folder import read_metrics
from InnerEarAILib.training.samples import collate
from InnerEarAILib.training.schedules import HeatmapShape
from library.labelled_balls import data_set
from library.tiny_training import BallSource, tiny_config, tiny_trainer, weights

HEATMAP = HeatmapShape(1.0, 2.0)
PLAIN = torch.autocast("cpu", enabled=False)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def config(method, **changes):
    # Of the two methods' networks, the sizes alone have the same name.
    loss = {"segmentation": "bce"} if method == "autocasnet" else {}
    return tiny_config(method=method, network={"widths": [4, 6]}, loss=loss, **changes)


def moved(before, network):
    return {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}


@pytest.mark.parametrize(("progress", "stage", "done"), [(0, 0, 0), (0.49, 0, 0.98), (0.5, 1, 0), (1.0, 1, 1.0)])
def test_stages_have_equal_shares(progress, stage, done):
    assert stage_at(progress, 2) == (stage, pytest.approx(done))


def test_displacement_maps_point_from_every_voxel_to_the_landmark():
    landmarks = torch.full((2, 2, 3, 3), torch.nan, dtype=torch.float64)
    landmarks[0, 0] = torch.tensor([[2.0, 5, 7], [1, 1, 1], [0, 0, 8]])
    landmarks[0, 1] = 50.0  # the other ear is farther from the middle
    maps = displacement_truth(landmarks, 10, torch.device("cpu"))
    assert maps.shape == (2, 9, 10, 10, 10)
    torch.testing.assert_close(maps[0, :3, 4, 4, 4] * 10, torch.tensor([-2.0, 1, 3]))
    assert (maps[0, :3, 2, 5, 7] == 0).all()
    assert maps[1].isnan().all()


def test_displacements_to_unknown_and_absent_landmarks_do_not_count():
    landmarks = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    landmarks[0, 0, 2] = torch.nan
    truth = displacement_truth(landmarks, 4, torch.device("cpu"))
    predicted = truth.nan_to_num() + torch.tensor([0.5] * 3 + [100.0] * 3 + [7.0] * 3)[:, None, None, None]
    known = torch.tensor([[True, False, True]])
    assert displacement_error(predicted, truth, known).item() == pytest.approx(0.25)
    assert displacement_error(predicted, truth, torch.zeros(1, 3, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize(("stage", "trained"), [(0, "displacement_network"), (1, "joint_network")])
def test_each_stage_of_jsdnet_trains_its_own_network(tmp_path, stage, trained):
    trainer = tiny_trainer(tmp_path / "run", config("jsdnet"))
    objective = make_objective(trainer.config, PLAIN)
    objective(trainer.network, collate([BallSource().sample(0)]), HEATMAP, stage).total.backward()
    graded = {name.split(".")[0] for name, weight in trainer.network.named_parameters() if weight.grad is not None}
    assert graded == {trained}


def test_neither_task_of_jsdnet_drowns_the_other_at_the_beginning(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", config("jsdnet"))
    objective = make_objective(trainer.config, PLAIN)
    terms = objective(trainer.network, collate([BallSource().sample(0)]), HEATMAP, 1)
    heatmaps = trainer.config.loss.heatmap_weight * terms.heatmap
    assert 0.25 < heatmaps / terms.segmentation < 2


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_each_stage_of_the_cascade_trains_its_own_network(tmp_path, stage):
    trainer = tiny_trainer(tmp_path / "run", config("autocasnet"))
    objective = make_objective(trainer.config, PLAIN)
    objective.begin(trainer.network, stage)
    objective(trainer.network, collate([BallSource().sample(0)]), HEATMAP, stage).total.backward()
    graded = {name.split(".")[1] for name, weight in trainer.network.named_parameters() if weight.grad is not None}
    assert graded == {str(stage)}


class Recorder(AutoCasNet):
    """Remembers the slices that a stage is shown, and how often masks are drawn."""

    def __init__(self, config):
        super().__init__(config)
        self.shown, self.drawn = [], 0

    def stage_logits(self, stage, slices):
        self.shown.append(slices)
        return super().stage_logits(stage, slices)

    def context(self, image, stage):
        self.drawn += 1
        return super().context(image, stage)


def test_slices_come_from_all_volumes_along_the_stages_axis():
    settings = config("autocasnet", optimisation={"slices": 6})
    network, objective = Recorder(settings.network), SliceObjective(settings, PLAIN)
    batch = collate([BallSource().sample(number) for number in range(2)])
    objective.begin(network, 1)
    objective(network, batch, HEATMAP, 1)
    (shown,) = network.shown
    assert shown.shape == (6, 2, 16, 16)
    for place, slices in enumerate((shown[:3], shown[3:])):
        own = slices_along(batch.image[place], axis=2)[:, 0]  # the second stage is sagittal
        assert all(any(torch.equal(piece[0], other) for other in own) for piece in slices)


def test_masks_of_a_volume_that_comes_again_are_drawn_once_a_stage():
    settings = config("autocasnet")
    network, objective = Recorder(settings.network), SliceObjective(settings, PLAIN)
    sample = BallSource().sample(0)
    named = type(sample)(sample.image, sample.labyrinth, sample.landmarks_kji, sample.known, "ball")
    for stage, draws in ((1, 1), (2, 2)):
        objective.begin(network, stage)
        for _ in range(2):
            objective(network, collate([named]), HEATMAP, stage)
        assert network.drawn == draws
    objective(network, collate([sample]), HEATMAP, 2)
    objective(network, collate([sample]), HEATMAP, 2)
    assert network.drawn == 4


@pytest.mark.parametrize("method", ["jsdnet", "autocasnet"])
def test_method_is_trained_and_comes_back_by_name(tmp_path, method):
    trainer = tiny_trainer(tmp_path / "run", config(method))
    before = {name: weight.clone() for name, weight in trainer.network.named_parameters()}
    figures = trainer.run()
    assert np.isfinite(figures.dice)
    assert moved(before, trainer.network) == set(before)
    for which in ("last", "best"):
        card = load_card("tiny", tmp_path / "run" / which)
        assert card.method == method
        network = load_network(card)
        assert network.method == method
        if method == "autocasnet":
            assert int(network.trained_stages) == 3


# The cascade draws slices and drops channels while it is trained: it needs more of a run than the others.
WATCHED = {
    "optimisation": {"accumulation": 1, "warmup_share": 0.5, "annealing_share": 0.5},
    "watch": {"report_every": 1},
}


@pytest.fixture(scope="module")
def cascade_run(tmp_path_factory):
    """An undisturbed run of twelve passes, and the weights of the network before each stage as that began."""
    torch.set_num_threads(1)
    trainer = tiny_trainer(tmp_path_factory.mktemp("cascade") / "run", config("autocasnet", **WATCHED))
    kept, begin = {}, trainer._objective.begin

    def watched(network, stage):
        begin(network, stage)
        if network is trainer.network and stage:
            kept[stage] = {name: value.clone() for name, value in network.stages[stage - 1].state_dict().items()}

    trainer._objective.begin = watched
    trainer.run()
    return trainer, kept


def test_learning_rate_begins_anew_with_every_stage(cascade_run):
    rows = read_metrics(cascade_run[0].folder / "metrics.csv")
    rates = [row["learning_rate"] for row in rows if "learning_rate" in row]
    assert len(rates) == 12
    assert rates[:4] == rates[4:8] == rates[8:]
    assert rates[0] < rates[2] > rates[3]


def test_later_stages_leave_earlier_networks_as_they_are(cascade_run):
    trainer, kept = cascade_run
    assert set(kept) == {1, 2}
    for stage, before in kept.items():
        after = trainer.network.stages[stage - 1].state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())


class InterruptedSource(BallSource):
    """Sends the process a signal while it prepares sample number 7, which is of the second stage."""

    def sample(self, index):
        if index == 7:
            signal.raise_signal(signal.SIGINT)
        return super().sample(index)


def test_run_interrupted_in_a_later_stage_goes_on_there(tmp_path, cascade_run):
    settings = config("autocasnet", **WATCHED)
    stopped = tiny_trainer(tmp_path / "run", settings, source=InterruptedSource())
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = tiny_trainer(tmp_path / "run", settings)
    resumed.resume()
    assert resumed.state.stage == 1
    resumed.run()
    assert torch.equal(weights(resumed), weights(cascade_run[0]))


def test_finished_cascade_goes_on_in_its_last_stage(tmp_path):
    trainer = tiny_trainer(tmp_path / "run", config("autocasnet", **WATCHED))
    trainer.run()
    longer = config("autocasnet", **WATCHED | {"optimisation": {**WATCHED["optimisation"], "iterations": 24}})
    resumed = tiny_trainer(tmp_path / "run", longer)
    resumed.resume()
    before = {name: value.clone() for name, value in resumed.network.state_dict().items()}
    resumed.run()
    assert resumed.state.iteration == 24
    assert resumed.state.stage == 2
    assert int(resumed.network.trained_stages) == 3
    changed = moved(before, resumed.network)
    assert changed
    assert all(name.startswith("stages.2.") for name in changed)


@pytest.mark.slow
def test_jsdnet_learns_where_balls_and_their_landmarks_are(tmp_path):
    steps = {"iterations": 400, "accumulation": 1, "learning_rate": 8e-3}
    settings = tiny_config(method="jsdnet", network={"widths": [6, 12]}, optimisation=steps)
    figures = tiny_trainer(tmp_path / "run", settings).run()
    assert figures.dice > 0.5
    assert max(figures.helicotrema_mm, figures.oval_window_mm) < 0.3


def test_whole_tiles_show_the_labyrinth_in_their_middle(tmp_path):
    manifest = read_manifest(data_set(tmp_path, 1))
    prepare_case(manifest.cases[0], tmp_path / "0000", 0.5, 12.0)
    steady = ManifestSource((tmp_path / "0000",), AUGMENTATIONS["none"], 0.7, 16, 3, whole=True)
    first, second = steady.sample(0), steady.sample(1)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.same_as == second.same_as != ""
    places = np.argwhere(first.labyrinth >= 0.5)
    np.testing.assert_allclose((places.min(0) + places.max(0)) / 2, 7.5, atol=0.6)
    turned = ManifestSource((tmp_path / "0000",), AUGMENTATIONS["beta"], 0.7, 16, 3, whole=True)
    assert turned.sample(0).same_as == ""
    assert len(validation_tiles([tmp_path / "0000"], 5, 16, 3, whole=True)) == 1
