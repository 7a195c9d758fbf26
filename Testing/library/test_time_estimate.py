"""The time that a run will take: it grows with the work, comes without torch, and is near what a run takes."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from InnerEarAILib.inference import known_speeds
from InnerEarAILib.inference.predictor import predict
from InnerEarAILib.inference.speed import Speed, measure_speed
from InnerEarAILib.inference.tiling import tile_volume
from InnerEarAILib.model_card import ModelError
from InnerEarAILib.model_store import load_card, load_network, save_model
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.progress import Progress
from InnerEarAILib.segmenter import SegmenterOptions
from InnerEarAILib.time_estimate import estimated_seconds, in_words, learn, speed_of_run, time_sentence
from InnerEarAILib.volume import Grid, InputError

CARD, LOCATOR = load_card("clinical"), load_card("locator")
SPEEDS = {"clinical": Speed("clinical", "cpu", "float32", 1.0), "locator": Speed("locator", "cpu", "float32", 0.5)}
EAR = Grid.axis_aligned((100, 100, 100), 0.3, (0, 0, 0))
HEAD = Grid.axis_aligned((300, 400, 400), 0.4, (-80, -80, 0))


def estimate(grid=EAR, speeds=SPEEDS, **options):
    return estimated_seconds(grid, SegmenterOptions(**options), CARD, LOCATOR, speeds)


def test_ten_views_take_longer_than_one_and_the_whole_scan_longer_than_its_ears():
    assert estimate(preset="fast") < estimate(preset="standard")
    assert estimate(HEAD, preset="standard") < estimate(HEAD, preset="paper")
    assert estimate(preset="standard", views=1) == estimate(preset="fast")


def test_a_model_that_was_taught_no_turns_takes_the_time_of_one_view():
    upright = replace(CARD, figures={"views_taught": 1})
    times = [estimated_seconds(EAR, SegmenterOptions(views=views), upright, LOCATOR, SPEEDS) for views in (None, 1, 10)]
    assert times[0] == times[1] < times[2]


def test_time_grows_with_the_tiles_of_the_scan():
    larger = Grid.axis_aligned((200, 200, 200), 0.3, (0, 0, 0))
    assert estimate(larger, preset="paper") > 4 * estimate(preset="paper")
    assert estimate(preset="paper") == pytest.approx(8 * 10 * 1.0, rel=0.05)  # 30 mm are two tiles of 22 mm a side


def test_a_head_has_two_ears_and_more_to_search():
    one_ear = estimate(preset="standard") - estimate(preset="fast")
    assert estimate(HEAD, preset="standard") - estimate(HEAD, preset="fast") == pytest.approx(2 * one_ear)
    without_the_locator = {**SPEEDS, "locator": Speed("locator", "cpu", "float32", 0.0)}
    assert estimate(HEAD) - estimate(HEAD, speeds=without_the_locator) > 10 * 0.5


def test_a_faster_device_is_proportionally_faster_where_tiles_are_all_that_counts():
    twice = {name: Speed(name, "cpu", "bfloat16", speed.seconds_per_tile / 2) for name, speed in SPEEDS.items()}
    assert estimate(HEAD, speeds=twice) == pytest.approx(estimate(HEAD) / 2, rel=0.1)


def test_an_oblique_scan_takes_longer():
    turned = EAR.affine_lps.copy()
    turned[:2, :2] = turned[:2, :2] @ [[0.8, -0.6], [0.6, 0.8]]
    paper = SegmenterOptions(preset="paper")
    straight, oblique = (estimated_seconds(grid, paper, CARD, None, SPEEDS) for grid in (EAR, Grid(EAR.shape, turned)))
    assert oblique > straight + 0.2e-6 * np.prod(EAR.shape)


def test_what_is_not_known_is_refused():
    with pytest.raises(KeyError):
        estimate(speeds={"clinical": SPEEDS["clinical"]})
    with pytest.raises(ValueError, match="locator's card"):
        estimated_seconds(EAR, SegmenterOptions(), CARD, None, SPEEDS)
    with pytest.raises(InputError, match="preset"):
        estimate(preset="hasty")


def test_estimate_is_near_a_measured_run():
    """Within a factor of four, since other work may take the processor away during either of the two."""
    network, tile = load_network(LOCATOR), LOCATOR.tile_voxels
    speed = measure_speed(LOCATOR)
    voxels = np.random.default_rng(1).normal(size=(tile, tile, 2 * tile)).astype(np.float32)
    begin = time.perf_counter()
    execution = predict(
        network,
        voxels,
        tile=tile,
        overlap=LOCATOR.overlap_voxels,
        views=1,
        agreeing_precisions=LOCATOR.agreeing_precisions,
    ).execution
    assert execution["tiles"] == 3
    assert 1 / 4 < 3 * speed.seconds_per_tile / (time.perf_counter() - begin) < 4
    assert speed.precision == execution["precision"]


def test_speed_is_that_of_one_tile_of_those_that_a_gpu_takes_together(monkeypatch):
    shown = []

    def predicted(network, voxels, *, tile, overlap, **options):
        shown.append(len(tile_volume(voxels.shape, tile, overlap).starts_kji))
        return SimpleNamespace(execution={"device": "cpu", "precision": "float32", "tiles": shown[-1], "seconds": 3.0})

    monkeypatch.setattr("InnerEarAILib.inference.execution_plan.usual_batch_size", lambda device, tile: 4)
    monkeypatch.setattr("InnerEarAILib.inference.predictor.predict", predicted)
    assert measure_speed(LOCATOR).seconds_per_tile == 0.75
    assert shown == [4]


def test_speed_is_known_from_an_earlier_run():
    provenance = {
        "model": "clinical",
        "execution.device": "cuda:0",
        "execution.precision": "float16",
        "execution.tiles": 4,
        "execution.views": 10,
        "execution.seconds": 2.0,
    }
    speed = speed_of_run(provenance)
    assert speed == Speed("clinical", "cuda:0", "float16", 0.05)
    assert Speed.from_dict(json.loads(json.dumps(speed.to_dict()))) == speed
    assert speed_of_run({"model": "clinical"}) is None
    with pytest.raises(ValueError, match="not the values of a speed"):
        Speed.from_dict({"model": "clinical"})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.3, "5 seconds"),
        (12, "10 seconds"),
        (58, "1 minute"),
        (130, "2 minutes"),
        (3600, "1 hour"),
        (9000, "2.5 hours"),
    ],
)
def test_a_duration_is_told_as_a_person_says_it(seconds, words):
    assert in_words(seconds) == words


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """A segmenter and a locator, small and untrained, and an empty cache."""
    torch.manual_seed(1)
    for name in ("clinical", "locator"):
        card = replace(load_card(name), tile_voxels=16, overlap_voxels=4, agreeing_precisions=("float32",))
        save_model(tmp_path / "models", card, DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    monkeypatch.setenv("INNEREARAI_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(known_speeds.sys, "platform", "linux")
    return tmp_path


def told(grid=EAR, **options):
    """The sentence, and whether a model was tried for it."""
    steps = []
    progress = Progress(on_step=lambda step, fraction: steps.append(step))
    return time_sentence(grid, SegmenterOptions(device="cpu", **options), progress), bool(steps)


def test_a_shell_tries_a_model_once_and_learns_from_runs(installation):
    sentence, tried = told()
    assert re.fullmatch(r"This will take about \d+ (seconds|minutes?)\.", sentence)
    assert tried
    assert told() == (sentence, False)
    provenance = {
        "model": "clinical",
        "execution.device": "cpu",
        "execution.precision": "float32",
        "execution.tiles": 1,
        "execution.views": 1,
        "execution.seconds": 3600.0,
    }
    learn({**provenance, "model.sha256": "of another model of that name"})
    assert told() == (sentence, False)
    learn(provenance)
    learn({"model": "clinical"})  # a run that found no ear shows no speed
    assert told()[0].endswith("hours.")
    save_model(installation / "models", load_card("clinical"), DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    assert told()[1], "other weights, another model"


def test_a_model_in_a_folder_of_its_own_has_an_estimate(installation):
    (installation / "models" / "clinical").rename(installation / "clinical")
    assert told(model=str(installation / "clinical"))[0].startswith("This will take")


def test_a_cache_that_is_damaged_or_cannot_be_written_is_no_hindrance(installation):
    (installation / "cache" / "inner-ear-ai").mkdir(parents=True)
    file = installation / "cache" / "inner-ear-ai" / "speeds.json"
    for damaged in ("{", "[1]", '{"clinical": {"model": 1}}'):
        file.write_text(damaged, encoding="utf-8")
        assert told()[1]
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be", encoding="utf-8")
    assert told()[0].startswith("This will take")


def test_a_user_without_a_home_has_estimates_too(installation, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert known_speeds.cache_folder({"XDG_CACHE_HOME": "/c"}, "linux") == Path("/c/inner-ear-ai")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert told()[0].startswith("This will take")


def test_what_a_run_would_refuse_is_refused_before(installation):
    with pytest.raises(ModelError):
        told(model="nonesuch")
    with pytest.raises(InputError):
        told(Grid.axis_aligned((2, 2, 2), 1e-7, (0, 0, 0)))
    (installation / "models" / "locator" / "model.json").unlink()
    with pytest.raises(ModelError):
        told(preset="fast")
    assert told(preset="paper")[0].startswith("This will take")


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/c"}, Path("/c/inner-ear-ai")),
        ("linux", {}, Path.home() / ".cache/inner-ear-ai"),
        ("darwin", {}, Path.home() / "Library/Caches/inner-ear-ai"),
        ("win32", {"LOCALAPPDATA": "/l"}, Path("/l/inner-ear-ai")),
    ],
)
def test_the_cache_is_where_the_system_wants_it(platform, environment, folder):
    assert known_speeds.cache_folder(environment, platform) == folder


def test_estimates_come_without_torch():
    library = Path(__file__).parents[2] / "InnerEarAI"
    script = "import sys, InnerEarAILib.time_estimate; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(library)}, check=False)
    assert done.returncode == 0
