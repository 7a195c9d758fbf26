import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from InnerEarAILib.landmarks import LANDMARK_NAMES
from InnerEarAILib.phantom.head import MIRROR, Head, sample_head
from InnerEarAILib.phantom.head_earless import KINDS, sample_earless


@pytest.fixture(scope="module")
def head() -> Head:
    return sample_head(np.random.default_rng(3), "normal")


def around(centre: np.ndarray, reach: float, count: int = 3000) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.tensor(centre + rng.uniform(-reach, reach, (count, 3)), dtype=torch.float32)


def test_head_has_a_right_and_a_left_ear_at_their_places(head):
    assert [ear.side for ear in head.ears] == ["right", "left"]
    for ear, side in zip(head.ears, (-1, 1), strict=True):
        assert set(ear.landmarks) == set(LANDMARK_NAMES)
        for position in ear.landmarks.values():
            assert 30 < side * position[0] < 55
            assert np.abs(position[1:]).max() < 25


def test_each_ear_has_its_lumen_where_its_landmarks_are(head):
    for ear in head.ears:
        seen = head.render(around(np.mean(list(ear.landmarks.values()), axis=0), 8.0), 0.3)
        assert seen.labyrinth.mean() > 0.01
    middle = head.render(around(np.zeros(3), 25.0), 0.5)
    assert middle.labyrinth.max() == 0


def test_left_ear_is_the_mirror_of_its_description(head):
    points = around(np.zeros(3), 15.0)
    described = head.left.render(points, 0.5)
    placed = (points + torch.tensor(head.left.parameters.place)) * torch.tensor([-1.0, 1.0, 1.0])
    seen = head.render(placed, 0.5)
    assert torch.allclose(seen.hounsfield, described.hounsfield, atol=1.0)
    assert torch.allclose(seen.labyrinth, described.labyrinth, atol=1e-3)


def test_landmarks_lie_where_each_ears_description_is_placed(head):
    for ear, described, sign in zip(head.ears, (head.right, head.left), (1, MIRROR), strict=True):
        for name, position in described.labyrinth.landmarks.items():
            np.testing.assert_allclose(ear.landmarks[name], sign * (position + described.parameters.place))


def test_head_is_brain_within_skull_within_air(head):
    heights = torch.tensor([[0.0, 5.0, 50.0], [0.0, 5.0, 180.0], [-150.0, 0.0, 0.0]])
    brain, *outside = head.render(heights, 1.0).hounsfield.tolist()
    assert -20 < brain < 90
    assert max(outside) < -900
    line = torch.tensor([[0.0, 5.0, z] for z in np.arange(60, 130, 0.5)], dtype=torch.float32)
    assert head.render(line, 0.5).hounsfield.max() > 1100


def test_face_has_air_filled_sinuses_within_bony_walls(head):
    line = torch.tensor([[x, -58.0, -22.0] for x in np.arange(-60, 61, 0.5)], dtype=torch.float32)
    seen = head.render(line, 0.5).hounsfield
    for side in (seen[:121], seen[120:]):
        assert side.min() < -900
        assert side.max() > 1000


def test_same_seed_gives_same_head():
    points = torch.rand(500, 3) * 160 - 80
    first, second = (sample_head(np.random.default_rng(8)).render(points, 1.0) for _ in range(2))
    assert torch.equal(first.hounsfield, second.hounsfield)


@pytest.mark.parametrize("kind", KINDS)
def test_earless_scan_has_no_ear(kind):
    anatomy = sample_earless(np.random.default_rng(2), kind)
    seen = anatomy.render(around(np.zeros(3), 30.0), 0.5)
    assert anatomy.ears == ()
    assert seen.labyrinth.max() == 0
    assert seen.part.max() == 0
    assert torch.isfinite(seen.hounsfield).all()
    assert json.dumps(asdict(anatomy.parameters))


def test_knee_has_bone_marrow_and_soft_tissue():
    seen = sample_earless(np.random.default_rng(2), "knee").render(around(np.zeros(3), 40.0), 0.5).hounsfield
    assert (seen > 1200).any()
    assert ((seen > -150) & (seen < 120)).float().mean() > 0.1


def test_unknown_kind_is_named():
    with pytest.raises(ValueError, match="elbow"):
        sample_earless(np.random.default_rng(0), "elbow")
