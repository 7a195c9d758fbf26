"""The loss terms and schedules against hand-computed cases."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from InnerEarAILib.training.losses import (
    JointLoss,
    LossConfig,
    heatmap_error,
    heatmap_truth,
    segmentation_loss,
)
from InnerEarAILib.training.samples import TrainingSample, collate
from InnerEarAILib.training.schedules import (
    NAMED_HEATMAP_SCHEDULES,
    HeatmapSchedule,
    HeatmapShape,
    TrapezoidalRate,
)

CPU = torch.device("cpu")


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def two_voxels(first: float, second: float) -> torch.Tensor:
    return torch.tensor([first, second]).reshape(1, 1, 1, 1, 2)


def batch_of(n: int, landmarks: np.ndarray, known=(True, True, True)):
    labyrinth = np.zeros((n, n, n), np.float32)
    labyrinth[: n // 2] = 1
    image = np.zeros((n, n, n), np.float32)
    return collate([TrainingSample(image, labyrinth, landmarks, np.array(known))])


PREDICTED, TRUTH = two_voxels(logit(0.8), logit(0.4)), two_voxels(1.0, 0.0)
SOFT_DICE = 1 - 2 * 0.8 / (1.0 + 1.2)
CROSS_ENTROPY = -(math.log(0.8) + math.log(0.6)) / 2


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("dice", SOFT_DICE),
        ("bce", CROSS_ENTROPY),
        ("dice_bce", SOFT_DICE + CROSS_ENTROPY),
        ("squared_dice", 1 - 2 * 0.8 / (1.0 + 0.64 + 0.16)),
        ("log_cosh_dice", math.log(math.cosh(SOFT_DICE))),
    ],
)
def test_segmentation_loss_is_the_hand_computed_one(kind, expected):
    assert segmentation_loss(kind)(PREDICTED, TRUTH).item() == pytest.approx(expected, abs=1e-4)


def test_cross_entropy_can_weigh_more_beside_dice():
    loss = segmentation_loss("dice_bce", cross_entropy_weight=10)
    assert loss(PREDICTED, TRUTH).item() == pytest.approx(SOFT_DICE + 10 * CROSS_ENTROPY, abs=1e-4)


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_dice_is_smallest_at_the_soft_truth(share, other):
    truth = two_voxels(share, 0.5)
    loss = segmentation_loss("dice")
    exact = loss(two_voxels(logit(share), 0.0), truth)
    assert exact.item() == pytest.approx(0, abs=1e-5)
    assert loss(two_voxels(logit(other), 0.0), truth) >= exact - 1e-6


def test_unknown_segmentation_loss_names_the_choices():
    with pytest.raises(ValueError, match="squared_dice"):
        segmentation_loss("focal")


def test_heatmap_has_amplitude_at_its_centre_and_falls_to_e_to_the_minus_half_at_the_spread():
    landmarks = torch.full((1, 1, 3, 3), 8.0, dtype=torch.float64)
    heatmap = heatmap_truth(landmarks, (17, 17, 17), HeatmapShape(4.0, 2.0), 1, CPU)
    assert heatmap[0, 0, 8, 8, 8].item() == pytest.approx(4.0)
    assert heatmap[0, 1, 10, 8, 8].item() == pytest.approx(4 * math.exp(-0.5), abs=1e-5)


def test_heatmap_of_a_terminal_peaks_at_the_same_place_in_the_tile():
    landmarks = torch.full((1, 1, 3, 3), 6.5, dtype=torch.float64)
    heatmap = heatmap_truth(landmarks, (8, 8, 8), HeatmapShape(1.0, 4.0), 2, CPU)
    assert np.unravel_index(int(heatmap[0, 0].argmax()), (8, 8, 8)) == (3, 3, 3)
    assert heatmap[0, 0, 3, 3, 3].item() == pytest.approx(1.0)
    assert heatmap[0, 0, 5, 3, 3].item() == pytest.approx(math.exp(-0.5), abs=1e-5)  # 4 voxels of the tile off


def test_two_ears_in_a_tile_each_keep_their_peak_and_an_absent_one_has_none():
    landmarks = torch.full((1, 2, 3, 3), torch.nan, dtype=torch.float64)
    landmarks[0, 0, 0], landmarks[0, 1, 0] = 2.0, 12.0
    heatmap = heatmap_truth(landmarks, (16, 16, 16), HeatmapShape(3.0, 2.0), 1, CPU)
    assert heatmap[0, 0, 2, 2, 2].item() == pytest.approx(3.0)
    assert heatmap[0, 0, 12, 12, 12].item() == pytest.approx(3.0)
    assert heatmap[0, 1:].abs().max() == 0


def test_heatmap_error_leaves_out_landmarks_that_nobody_marked():
    predicted, truth = torch.zeros(1, 3, 2, 2, 2), torch.zeros(1, 3, 2, 2, 2)
    truth[0, 0], truth[0, 1], truth[0, 2] = 1.0, 3.0, 100.0
    known = torch.tensor([[True, True, False]])
    assert heatmap_error(predicted, truth, known).item() == pytest.approx((1 + 9) / 2)
    assert heatmap_error(predicted, truth, known, power=1).item() == pytest.approx((1 + 3) / 2)


def test_total_is_the_weighted_sum_over_heads_and_terminals():
    batch = batch_of(8, np.full((1, 3, 3), 3.0))
    shape = HeatmapShape(1.0, 2.0)
    output = SimpleNamespace(
        segmentation=torch.zeros(1, 1, 8, 8, 8),
        heatmaps=torch.zeros(1, 3, 8, 8, 8),
        segmentation_terminals=(torch.ones(1, 1, 4, 4, 4),),
        heatmap_terminals=(torch.ones(1, 3, 4, 4, 4),),
    )
    config = LossConfig("bce", segmentation_weight=2.0, heatmap_weight=10.0, supervision_weights=(3.0, 1.0))
    terms = JointLoss(config)(output, batch, shape)
    full = 2 * math.log(2) + 10 * float(heatmap_truth(batch.landmarks_kji, (8, 8, 8), shape, 1, CPU).pow(2).mean())
    low_truth = heatmap_truth(batch.landmarks_kji, (4, 4, 4), shape, 2, CPU)
    low_bce = (math.log(1 + math.exp(-1)) + math.log(1 + math.e)) / 2
    low = 2 * low_bce + 10 * float((1 - low_truth).pow(2).mean())
    assert terms.total.item() == pytest.approx(0.75 * full + 0.25 * low, rel=1e-5)


def test_single_task_loss_ignores_the_other_head():
    batch = batch_of(8, np.full((1, 3, 3), 3.0))
    output = SimpleNamespace(
        segmentation=torch.zeros(1, 1, 8, 8, 8),
        heatmaps=None,
        segmentation_terminals=(),
        heatmap_terminals=(),
    )
    terms = JointLoss(LossConfig("bce"))(output, batch, HeatmapShape(1, 2))
    assert terms.total.item() == pytest.approx(math.log(2))
    weighted = JointLoss(LossConfig("dice_bce", cross_entropy_weight=10))(output, batch, HeatmapShape(1, 2))
    assert weighted.total.item() == pytest.approx(0.5 + 10 * math.log(2))


def test_learning_rate_is_a_trapezoid():
    rate = TrapezoidalRate(peak=2.0, warmup_share=0.2, annealing_share=0.4, final_share=0.0)
    assert [rate.at(p) for p in (0, 0.1, 0.2, 0.5, 0.6, 0.8, 1)] == pytest.approx([0, 1, 2, 2, 2, 1, 0])


def test_learning_rate_ends_at_the_final_share_also_beyond_the_end():
    rate = TrapezoidalRate(peak=1.0, final_share=0.01)
    assert rate.at(1.0) == pytest.approx(0.01)
    assert rate.at(1.3) == pytest.approx(0.01)


def test_warmup_and_annealing_longer_than_the_training_are_refused():
    with pytest.raises(ValueError, match="at most 1"):
        TrapezoidalRate(peak=1.0, warmup_share=0.6, annealing_share=0.6)


@pytest.mark.parametrize("name", NAMED_HEATMAP_SCHEDULES)
def test_heatmap_schedule_takes_each_milestone_when_it_is_reached(name):
    schedule = NAMED_HEATMAP_SCHEDULES[name]
    for before, milestone in zip((None, *schedule.milestones), schedule.milestones, strict=False):
        assert schedule.at(milestone.progress) == HeatmapShape(milestone.amplitude, milestone.spread)
        if before is not None:
            just_before = schedule.at(milestone.progress - 1e-6)
            assert just_before == HeatmapShape(before.amplitude, before.spread)
    assert schedule.at(1.0) == schedule.final


@pytest.mark.parametrize("rows", [[], [(0.1, 1, 8)], [(0, 1, 8), (0.5, 0.5, 4)], [(0, 1, 4), (0.5, 1, 8)], [(0, 1, 0)]])
def test_heatmap_schedule_that_runs_backwards_is_refused(rows):
    with pytest.raises(ValueError, match=r"milestone|amplitude"):
        HeatmapSchedule.of(rows)
