"""Samples of the phantom: image, labyrinth and landmarks agree in any pose; validation figures; curves."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.networks.network_output import NetworkOutput
from InnerEarAILib.phantom.anatomy import PhantomEar
from InnerEarAILib.phantom.rendered_anatomy import RenderedAnatomy
from InnerEarAILib.training import curves, loading, phantom_pool
from InnerEarAILib.training.curves import TensorBoard, draw_curves
from InnerEarAILib.training.losses import JointLoss, LossConfig
from InnerEarAILib.training.phantom_dataset import PhantomSampling, PhantomSource
from InnerEarAILib.training.phantom_pool import TRAINING, VALIDATION, AnatomyPool, AnatomyRecipe
from InnerEarAILib.training.run_folder import MetricsTable, read_metrics
from InnerEarAILib.training.samples import TrainingSample, collate
from InnerEarAILib.training.schedules import HeatmapShape
from InnerEarAILib.training.validation import dice_and_iou, validate
from InnerEarAILib.volume import InputError
from library.heatmaps import encode_heatmap
from library.tiny_training import tiny_config, tiny_trainer

CPU = torch.device("cpu")
CENTRES = {"helicotrema": (1.5, 0.5, 0.0), "oval window": (-1.0, 1.0, 0.5), "round window": (-0.5, -1.5, -1.0)}
LATTICE = 64


def ball_anatomy(which: str) -> RenderedAnatomy:
    """A ball of labyrinth, bright in the dark, round one landmark."""
    spacing = 0.5
    origin = np.full(3, -(LATTICE - 1) / 2 * spacing)
    k, j, i = np.indices((LATTICE,) * 3)
    places = origin + spacing * np.stack([i, j, k], -1)
    share = np.clip((3.0 - np.linalg.norm(places - CENTRES[which], axis=-1)) / spacing + 0.5, 0, 1)
    ear = PhantomEar("right", {name: np.array(p) for name, p in CENTRES.items()}, {})
    return RenderedAnatomy(
        torch.from_numpy((2000 * share).astype(np.int16)),
        torch.from_numpy(np.round(255 * share).astype(np.uint8)),
        torch.zeros((LATTICE,) * 3, dtype=torch.uint8),
        spacing,
        origin,
        (ear,),
        0.0,
    )


def source_of(tmp_path, **sampling) -> PhantomSource:
    settled = {"upright_share": 0.0, "near_share": 1.0, "near_mm": 0.4, "away_share": 0.0, "cut_share": 0.0}
    sampling = PhantomSampling(
        **{"scanners": {"flat_panel": 1.0}, "finest_mm": 0.5, "region_mm": (20.0, 20.0)} | settled | sampling
    )
    recipe = AnatomyRecipe(3, {"temporal_bone": 1.0}, 0.5, 32.0)
    return PhantomSource(AnatomyPool(tmp_path, recipe, 4), sampling, 0.5, 32, seed=3)


def middle_of_mass(voxels: np.ndarray) -> np.ndarray:
    return (np.stack(np.indices(voxels.shape), -1) * voxels[..., None]).sum((0, 1, 2)) / voxels.sum()


def middle_of_image(sample: TrainingSample) -> np.ndarray:
    """Middle of the bright ball; noise may be as bright here and there."""
    regions, _ = ndimage.label(sample.image > (sample.image.min() + sample.image.max()) / 2)
    return middle_of_mass(regions == 1 + np.argmax(np.bincount(regions.ravel())[1:]))


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), channel=st.integers(0, 2))
def test_image_labyrinth_and_landmarks_agree_in_any_pose_to_a_tenth_of_a_voxel(tmp_path_factory, seed, channel):
    source = source_of(tmp_path_factory.mktemp("pool"))
    sample = source.sample_of(ball_anatomy(LANDMARK_NAMES[channel]), np.random.default_rng(seed))
    mark = sample.landmarks_kji[0, channel]
    assert np.abs(middle_of_mass(sample.labyrinth) - mark).max() < 0.1
    # A patient who moves, and rings, shift a single image by a little.
    assert np.abs(middle_of_image(sample) - mark).max() < 0.3


def test_a_landmark_that_a_malformed_ear_lacks_is_taught_to_be_nowhere(tmp_path):
    anatomy = ball_anatomy("oval window")
    (ear,) = anatomy.ears
    lacking = replace(anatomy, ears=(replace(ear, landmarks={"oval window": ear.landmarks["oval window"]}),))
    sample = source_of(tmp_path).sample_of(lacking, np.random.default_rng(1))
    assert np.isnan(sample.landmarks_kji[0]).all(1).tolist() == [True, False, True]
    assert sample.known.all()
    assert np.abs(middle_of_mass(sample.labyrinth) - sample.landmarks_kji[0, 1]).max() < 0.1


def test_some_bones_of_a_pool_carry_an_electrode(monkeypatch):
    recipe = AnatomyRecipe(0, {"temporal_bone": 1.0}, 0.5, 16.0)
    monkeypatch.setattr(phantom_pool, "IMPLANTED_SHARE", 0.0)
    plain = recipe.draw(TRAINING, 1)
    monkeypatch.setattr(phantom_pool, "IMPLANTED_SHARE", 1.0)
    implanted = recipe.draw(TRAINING, 1)
    assert plain.hounsfield.max() < 3500
    assert implanted.hounsfield.max() > 4000
    assert torch.equal(plain.labyrinth, implanted.labyrinth)


def test_images_lie_on_their_landmarks_on_average(tmp_path):
    source, anatomy = source_of(tmp_path), ball_anatomy("oval window")
    samples = [source.sample_of(anatomy, np.random.default_rng(seed)) for seed in range(24)]
    offsets = [middle_of_image(sample) - sample.landmarks_kji[0, 1] for sample in samples]
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.05
    assert np.median(np.abs(offsets)) < 0.05


def test_sample_of_a_finished_pool_is_always_the_same(tmp_path):
    source = source_of(tmp_path)
    for number, name in enumerate(LANDMARK_NAMES):
        ball_anatomy(name).save(tmp_path / f"{TRAINING}-{number:06d}.safetensors")
    first, again, other = source.sample(4), source_of(tmp_path).sample(4), source.sample(5)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.landmarks_kji, again.landmarks_kji)
    assert not np.array_equal(first.image, other.image)


def test_scans_that_end_below_dense_bone_show_it_larger_and_flat(tmp_path):
    anatomy = ball_anatomy("oval window")
    whole, clipped = (
        source_of(tmp_path, clipped_share=share, clipped_hounsfield=(600.0, 600.0))
        .sample_of(anatomy, np.random.default_rng(2))
        .image
        for share in (0.0, 1.0)
    )
    bright = [int((image > (image.min() + image.max()) / 2).sum()) for image in (whole, clipped)]
    assert bright[1] > 1.2 * bright[0]


def test_scanner_is_no_finer_than_the_anatomy_was_drawn(tmp_path):
    anatomy = ball_anatomy("oval window")
    as_drawn, finer, coarser = (
        source_of(tmp_path, finest_mm=finest_mm).sample_of(anatomy, np.random.default_rng(1)).image
        for finest_mm in (anatomy.spacing_mm, anatomy.spacing_mm / 4, anatomy.spacing_mm * 2)
    )
    assert np.array_equal(as_drawn, finer)
    assert not np.array_equal(as_drawn, coarser)


def test_pool_lets_go_of_the_oldest_anatomy(tmp_path, monkeypatch):
    monkeypatch.setattr(AnatomyRecipe, "draw", lambda self, stage, number: ball_anatomy("oval window"))
    pool = AnatomyPool(tmp_path, AnatomyRecipe(3, {}, 0.5, 32.0), size=2)
    for _ in range(3):
        pool.grow(TRAINING, pool.next_number())
    assert [path.stem for path in pool.paths()] == ["training-000001", "training-000002"]
    assert pool.next_number() == 3


def test_no_anatomy_is_drawn_for_training_and_for_validation(monkeypatch):
    monkeypatch.setattr(phantom_pool, "_RECIPES", {"temporal_bone": lambda recipe, rng: rng.random()})
    recipe = AnatomyRecipe(3, {"temporal_bone": 1.0}, 0.5, 32.0)
    drawn = [recipe.draw(stage, number) for stage in (TRAINING, VALIDATION) for number in range(4)]
    assert len(set(drawn)) == 8
    assert recipe.draw(VALIDATION, 3) == drawn[-1]


def test_samples_anatomies_and_choices_come_of_random_numbers_of_their_own(tmp_path, monkeypatch):
    seeds, default_rng = [], np.random.default_rng
    monkeypatch.setattr(phantom_pool, "_RECIPES", {"temporal_bone": lambda recipe, rng: ball_anatomy("oval window")})
    monkeypatch.setattr(np.random, "default_rng", lambda seed: seeds.append(tuple(seed)) or default_rng(seed))
    source = source_of(tmp_path)
    source = replace(source, pool=replace(source.pool, recipe=AnatomyRecipe(3, {"temporal_bone": 1.0}, 0.5, 32.0)))
    for stage in (TRAINING, VALIDATION):
        source.pool.grow(stage, 0)
    source.sample(0)
    source.validation(1)
    assert len(seeds) == len(set(seeds)) == 5


def test_a_pool_is_not_shared_with_anatomies_of_another_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(AnatomyRecipe, "draw", lambda self, stage, number: ball_anatomy("oval window"))
    recipe = AnatomyRecipe(3, {"temporal_bone": 1.0}, 0.5, 32.0)
    pool = AnatomyPool(tmp_path / "pool", recipe, size=2)
    pool.open()
    pool.grow(TRAINING, 0)
    replace(pool, recipe=replace(recipe, seed=4), size=5).open()
    with pytest.raises(InputError, match="drawn for other"):
        replace(pool, recipe=replace(recipe, spacing_mm=0.25)).open()
    (tmp_path / "pool" / "recipe.json").unlink()
    with pytest.raises(InputError, match="drawn for other"):
        pool.open()


def test_empty_pool_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no anatomies"):
        source_of(tmp_path).sample(0)


def test_batch_fills_up_absent_ears_with_nothing():
    cube = np.zeros((4, 4, 4), np.float32)
    samples = [TrainingSample(cube, cube, np.zeros((ears, 3, 3)), np.ones(3, bool)) for ears in (2, 0)]
    batch = collate(samples)
    assert batch.image.shape == (2, 1, 4, 4, 4)
    assert batch.landmarks_kji[0].isfinite().all()
    assert batch.landmarks_kji[1].isnan().all()


def test_dice_and_iou_of_hand_cases():
    predicted, truth = np.array([1, 1, 1, 0], bool), np.array([0, 1, 1, 1], bool)
    assert dice_and_iou(predicted, truth) == pytest.approx((2 / 3, 1 / 2))
    assert dice_and_iou(truth, truth) == (1, 1)
    assert all(np.isnan(dice_and_iou(truth & False, truth & False)))


def test_validation_figures_of_a_known_answer():
    labyrinth = np.zeros((16, 16, 16), np.float32)
    labyrinth[4:8, 4:8, 4:8] = 1
    landmarks = np.array([[[8.0, 8, 8], [4, 8, 8], [40, 8, 8]]])
    sample = TrainingSample(labyrinth, labyrinth, landmarks, np.array([True, True, True]))
    answer = np.full((1, 1, 16, 16, 16), -5.0, np.float32)
    answer[0, 0, 4:8, 4:8, 4:6] = 5.0  # one half of the labyrinth
    found = ([8.0, 8, 11], [4.0, 8, 8], [8.0, 8, 8])  # the first is 3 voxels off; the third has no truth in the tile
    heatmaps = np.stack([encode_heatmap(np.array(p), (16,) * 3, 1.0, 2.0) for p in found])[None].astype(np.float32)
    output = NetworkOutput(torch.from_numpy(answer), torch.from_numpy(heatmaps), (), ())
    network = torch.nn.Identity()
    network.forward = lambda image: output
    loss = JointLoss(LossConfig())
    autocast = torch.autocast("cpu", enabled=False)
    figures = validate(network, [sample], loss, HeatmapShape(1.0, 2.0), 0.5, CPU, autocast)
    assert (figures.dice, figures.iou) == pytest.approx((2 / 3, 1 / 2))
    assert figures.helicotrema_mm == pytest.approx(1.5, abs=1e-3)
    assert figures.oval_window_mm == pytest.approx(0.0, abs=1e-3)
    assert np.isnan(figures.round_window_mm)
    assert figures.score == pytest.approx(2 / 3 - 0.75 / 10, abs=1e-3)


@pytest.mark.parametrize(("logit", "dice"), [(5.0, 0.5), (-5.0, 0.0)])
def test_an_ear_that_is_drawn_where_there_is_none_counts_in_the_choice(logit, dice):
    nothing, everything = (np.full((8, 8, 8), share, np.float32) for share in (0, 1))
    landmarks = np.full((1, 3, 3), np.nan)
    samples = [TrainingSample(nothing, truth, landmarks, np.ones(3, bool)) for truth in (nothing, everything)]
    network = torch.nn.Identity()
    network.forward = lambda image: NetworkOutput(torch.full((1, 1, 8, 8, 8), logit), None, (), ())
    autocast = torch.autocast("cpu", enabled=False)
    figures = validate(network, samples, JointLoss(LossConfig("bce")), HeatmapShape(1.0, 2.0), 0.5, CPU, autocast)
    assert figures.dice == figures.score == dice


def test_curves_of_a_run_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    table = MetricsTable(tmp_path / "metrics.csv", ("iteration", "loss", "validation_dice"))
    table.append({"iteration": 50, "loss": 1.0})
    table.append({"iteration": 100, "loss": float("nan"), "validation_dice": 0.5})
    assert [sorted(row) for row in read_metrics(tmp_path / "metrics.csv")] == [
        ["iteration", "loss"],
        ["iteration", "validation_dice"],
    ]
    assert draw_curves(tmp_path).read_bytes().startswith(b"\x89PNG")


def test_curves_are_drawn_at_every_validation(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "DRAWN_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(curves, "draw_curves", lambda folder: drawn.append(len(read_metrics(folder / "metrics.csv"))))
    tiny_trainer(tmp_path / "run").run()
    assert drawn == [2, 5, 6]  # rows of reports and validations


def test_run_goes_on_where_its_curves_cannot_be_drawn(tmp_path, monkeypatch):
    def broken(folder):
        raise MemoryError("no room for a picture")

    said = []
    monkeypatch.setattr(curves, "DRAWN_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(curves, "draw_curves", broken)
    trainer = tiny_trainer(tmp_path / "run", say=said.append)
    trainer.run()
    assert trainer.state.iteration == 12
    assert said.count("  curves.png could not be drawn: no room for a picture") == 3


def test_tensorboard_gets_the_rows_where_it_is_installed_and_nothing_happens_where_not(tmp_path, monkeypatch):
    written = []
    writer = SimpleNamespace(add_scalar=lambda *row: written.append(row), flush=lambda: None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=lambda folder: writer))
    TensorBoard(tmp_path).append({"iteration": 50, "loss": 1.0, "seconds": float("nan")})
    assert written == [("loss", 1.0, 50)]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    TensorBoard(tmp_path).append({"iteration": 51, "loss": 1.0})
    assert len(written) == 1


class TwoBones:
    """Two ball anatomies, each always in the same pose."""

    def __init__(self, samples) -> None:
        self._samples = samples

    def sample(self, index):
        return self._samples[index % 2]


@pytest.mark.slow
def test_small_network_learns_two_phantoms_by_heart(tmp_path):
    source = source_of(tmp_path)
    samples = [source.sample_of(ball_anatomy(name), np.random.default_rng(7)) for name in LANDMARK_NAMES[:2]]
    config = tiny_config(
        tile_voxels=32,
        network={"widths": [8, 12, 16]},
        heatmaps={"milestones": [[0.0, 1.0, 5.0], [0.4, 2.0, 3.0]]},
        # In float32 PyTorch computes convolutions this small five times as slowly.
        optimisation={
            "iterations": 700,
            "accumulation": 1,
            "learning_rate": 5e-3,
            "ema_decay": 0.9,
            "precision": "bf16",
        },
        watch={"report_every": 100, "validate_every": 700, "checkpoint_minutes": 10},
    )
    trainer = tiny_trainer(tmp_path / "run", config, source=TwoBones(samples), validation=samples)
    figures = trainer.run()
    assert figures.dice >= 0.95
    for error_mm in (figures.helicotrema_mm, figures.oval_window_mm, figures.round_window_mm):
        assert error_mm <= config.spacing_mm


def test_processes_in_the_background_work_also_where_none_gives_way_to_another(monkeypatch):
    # As on Windows. Signals and threads are those of the process of the tests.
    monkeypatch.delattr(os, "nice", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    grown = []
    pool = SimpleNamespace(next_number=lambda: 3, grow=lambda stage, number: grown.append(number))
    phantom_pool._grow_until(pool, 5)
    assert grown == [3, 4]
    loading._quiet_worker(0)
