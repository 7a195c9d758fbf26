import json
from dataclasses import asdict

import numpy as np
import pytest

from InnerEarAILib.phantom.tissue import STATES, sample_tissue


def mean_of(name: str, state: str) -> float:
    return float(np.mean([getattr(sample_tissue(np.random.default_rng(seed), state), name) for seed in range(40)]))


def test_fresh_tissue_keeps_the_order_of_a_ct():
    for seed in range(20):
        tissue = sample_tissue(np.random.default_rng(seed))
        assert tissue.air < tissue.fat < tissue.cerebrospinal < tissue.muscle < tissue.trabecula < tissue.cortex
        assert tissue.brain < 100 < tissue.ossicle


def test_fresh_numbers_are_those_of_a_real_scan():
    assert mean_of("fluid", "fresh") == pytest.approx(25, abs=12)
    assert mean_of("capsule", "fresh") == pytest.approx(2010, abs=40)
    assert mean_of("brain", "fresh") == pytest.approx(33, abs=4)


def test_dry_bone_holds_air_where_fluid_and_soft_tissue_were():
    tissue = sample_tissue(np.random.default_rng(1), "dry")
    assert {tissue.fluid, tissue.nerve, tissue.brain, tissue.blood, tissue.mucosa} == {tissue.air}
    assert tissue.air < -900
    assert tissue.capsule > 1400


def test_resin_fills_what_was_air_or_soft():
    tissue = sample_tissue(np.random.default_rng(1), "embedded")
    assert tissue.fluid == tissue.air == tissue.surroundings
    assert tissue.fluid > 0


def test_fixation_spreads_the_contrast_of_the_fluid():
    fluids = [sample_tissue(np.random.default_rng(seed), "embalmed").fluid for seed in range(60)]
    fresh = [sample_tissue(np.random.default_rng(seed), "fresh").fluid for seed in range(60)]
    assert np.std(fluids) > 2 * np.std(fresh)


@pytest.mark.parametrize("state", STATES)
def test_tissue_becomes_json(state):
    tissue = sample_tissue(np.random.default_rng(0), state)
    assert json.loads(json.dumps(asdict(tissue)))["state"] == state


def test_unknown_state_is_named_in_the_error():
    with pytest.raises(ValueError, match="frozen"):
        sample_tissue(np.random.default_rng(0), "frozen")
