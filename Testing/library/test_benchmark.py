"""The benchmark: what it measures is there, it compares equals, and number formats are judged by the ears they give."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from InnerEarAILib.benchmark import agreement, measurement, scans
from InnerEarAILib.benchmark.agreement import Agreement, measured_agreements, updated_card
from InnerEarAILib.benchmark.command import SCANS
from InnerEarAILib.benchmark.contenders import contenders
from InnerEarAILib.benchmark.measurement import Durations, alternating, peak_memory, product_tflops, tile_tflop
from InnerEarAILib.benchmark.report import write_benchmark
from InnerEarAILib.benchmark.scans import SCAN_KINDS, ScanKind, timed_scan
from InnerEarAILib.benchmark.timing import RouteTiming
from InnerEarAILib.cli import main
from InnerEarAILib.inference import device
from InnerEarAILib.model_store import load_card, save_model
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig
from InnerEarAILib.networks.methods import network_config
from InnerEarAILib.volume import Grid, InputError, Volume
from library.scans import painted_ear, scan_result

CPU = torch.device("cpu")


@pytest.fixture
def store(tmp_path):
    """A segmenter and a locator, small and untrained."""
    torch.manual_seed(1)
    for name, spacing_mm in (("clinical", 1.0), ("locator", 2.0)):
        card = replace(load_card(name), spacing_mm=spacing_mm, tile_voxels=16, overlap_voxels=4, region_mm=16.0)
        card = replace(card, agreeing_precisions=("float32",), figures={})
        save_model(tmp_path / "models", card, DualHeadUNet(DualHeadUNetConfig(widths=(4, 6))))
    return tmp_path / "models"


@pytest.fixture
def small_scans(monkeypatch):
    grid = Grid.axis_aligned((20, 20, 20), 1.0, (0, 0, 0))
    noise = Volume(np.random.default_rng(0).normal(0, 300, grid.shape).astype(np.int16), grid.affine_lps, "noise")
    monkeypatch.setattr(scans, "embedded_ear", lambda progress: noise)
    monkeypatch.setattr(scans, "SCAN_KINDS", {"crop-50mm": ScanKind((14, 16, 22), (1.0, 1.0, 1.0))})
    monkeypatch.setattr(measurement, "PRODUCT_SIZE", {"cpu": 256})


def test_the_command_leaves_tables_json_and_a_plot(store, small_scans, tmp_path, capsys):
    asked = ["benchmark", "-o", str(tmp_path / "out"), "--device", "cpu", "--models", str(store)]
    assert main([*asked, "--scan", "crop-50mm", "--preset", "fast", "paper", "--runs", "1"]) == 0
    values = json.loads((tmp_path / "out" / "benchmark.json").read_text(encoding="utf-8"))
    assert [route["preset"] for route in values["routes"]] == ["fast", "paper"]
    for route in values["routes"]:
        assert sum(route["steps"].values()) == pytest.approx(route["median_seconds"], rel=0.3, abs=0.1)
    assert [(one["tiles"], one["views"]) for one in values["comparisons"]] == [(1, 1), (4, 10)]
    for one in values["comparisons"]:
        assert one["largest_difference"] < 1e-4
        assert set(one["durations"]) == {"predictor", "MONAI", "plain loop"}
    assert values["conditions"]["device"].startswith("CPU")
    assert "| crop-50mm | 22×16×14 | paper |" in capsys.readouterr().out
    assert (tmp_path / "out" / "benchmark.png").stat().st_size > 1000


def test_what_contradicts_itself_is_refused(capsys):
    assert main(["benchmark", "--device", "cpu"]) == 2
    assert main(["benchmark", "-o", "out", "--update"]) == 2
    assert main(["benchmark", "-o", "out", "--device", "cuda:99"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert "-o" in errors[0]
    assert "--agreement" in errors[1]


def test_all_contenders_draw_the_same_map(store):
    card = load_card("clinical", store)
    network = DualHeadUNet(network_config(card.method, card.network)).eval()
    voxels = np.random.default_rng(2).normal(size=(16, 16, 16)).astype(np.float32)
    first, *others = [way() for way in contenders(network, voxels, card, 10, CPU).values()]
    assert len(others) == 2
    for other in others:
        np.testing.assert_allclose(other, first, atol=1e-5)


def test_work_of_a_tile_is_that_of_its_convolutions():
    network = torch.nn.Conv3d(1, 5, 3, padding=1)
    assert tile_tflop(network, 8) == pytest.approx(2 * 8**3 * 5 * 27 / 1e12)
    assert product_tflops(CPU, "float32", runs=1) > 1e-4


def test_actions_take_turns():
    order = []
    taken = alternating({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 3
    assert [len(durations.seconds) for durations in taken.values()] == [3, 3]


def test_peak_memory_sees_what_was_held_only_for_a_moment():
    with peak_memory(CPU) as before:
        pass
    if before.host_gib is None:
        pytest.skip("this system does not tell a process's peak")
    with peak_memory(CPU) as during:
        np.ones(2**27, np.uint8)  # an eighth of a GiB
    assert during.host_gib - before.host_gib == pytest.approx(0.125, abs=0.03)
    assert during.device_gib is None


def test_scans_to_be_timed_have_their_size(monkeypatch):
    assert tuple(SCAN_KINDS) == SCANS
    grid = Grid.axis_aligned((10, 10, 10), 4.0, (3, 4, 5))
    ear = Volume(np.full(grid.shape, 1500, np.int16), grid.affine_lps)
    monkeypatch.setattr(scans, "embedded_ear", lambda progress: ear)
    monkeypatch.setattr(scans, "SCAN_KINDS", {"crop-50mm": ScanKind((12, 20, 30), (3.0, 3.0, 4.0))})
    scan = timed_scan("crop-50mm")
    assert scan.voxels.shape == (12, 20, 30)
    np.testing.assert_allclose(scan.grid.centre_lps, grid.centre_lps)
    assert scan.voxels[6, 10, 15] == 1500
    assert abs(int(scan.voxels[0, 0, 0]) - 40) < 150


def test_a_head_to_be_timed_has_two_ears_in_bone_and_air_round_it(monkeypatch):
    kind = ScanKind((56, 80, 80), (2.9, 2.9, 2.9), is_head=True)
    monkeypatch.setattr(scans, "SCAN_KINDS", {"head-512": kind})
    monkeypatch.setattr(scans, "HEAD_LATTICE_MM", 6.0)
    monkeypatch.setattr(scans, "EAR_LATTICE_MM", 2.0)
    head = timed_scan("head-512")
    assert head.voxels.shape == (56, 80, 80)
    assert head.voxels.dtype == np.int16
    corners = head.voxels[:: kind.shape[0] - 1, :: kind.shape[1] - 1, :: kind.shape[2] - 1]
    assert np.median(corners) < -800
    for x in (-42, 42):
        i, j, k = np.rint(head.grid.to_indices([x, 0, 0])).astype(int)
        assert (head.voxels[k - 3 : k + 4, j - 3 : j + 4, i - 3 : i + 4] > 700).mean() > 0.1
    i, j, k = np.rint(head.grid.to_indices([0, 0, 40])).astype(int)
    assert abs(np.median(head.voxels[k - 3 : k + 4, j - 3 : j + 4, i - 3 : i + 4]) - 40) < 60  # brain


def routes(**changes):
    taken = Durations((1.0,), (1.0,))
    steps = {"reading": 0.1, "finding the ears": 2.0, "predicting": 3.0}
    one = RouteTiming("crop-50mm", (14, 16, 22), (7.0, 8.0, 11.0), "fast", taken, steps, 1, 2, 8, "float32", 0.5, None)
    return [one, replace(one, scan="head-512", voxels=(40, 80, 80), ears=2, passes=4, blocks=90, **changes)]


def test_what_a_scan_costs_is_drawn_also_where_nothing_was_located(tmp_path):
    for number, some in enumerate((routes(), routes()[:1], [replace(route, blocks=0) for route in routes()])):
        files = write_benchmark(tmp_path / str(number), {"device": "CPU"}, some, [])
        assert [file.name for file in files] == ["benchmark.json", "benchmark.md", "benchmark.png"]
        assert files[-1].stat().st_size > 1000


def test_without_an_ear_there_are_tables_and_no_picture(tmp_path):
    earless = [replace(route, ears=0, passes=0) for route in routes()]
    files = write_benchmark(tmp_path, {"device": "CPU"}, earless, [])
    assert [file.name for file in files] == ["benchmark.json", "benchmark.md"]
    assert "| head-512 | 80×80×40 | fast | 0 |" in files[1].read_text(encoding="utf-8")


def answering(monkeypatch, ears):
    """Makes the route give the ears of each number format in turn."""
    monkeypatch.setattr(agreement, "choose_precision", lambda asked, on, agreeing: agreeing[0])
    monkeypatch.setattr(agreement, "PRECISIONS", ("float32", "bfloat16"))

    def segment(scan, options, models_directory):
        card = load_card("clinical", models_directory)
        ear = ears[card.agreeing_precisions[0]]
        return scan_result([] if ear is None else [ear])

    monkeypatch.setattr(agreement, "segment", segment)


def test_a_format_that_gives_the_same_ear_comes_onto_the_card(store, monkeypatch):
    ear = painted_ear("right", (-40, 10, 20))
    answering(monkeypatch, {"float32": ear, "bfloat16": ear})
    (measured,) = measured_agreements(load_card("clinical", store), [Volume(ear.segmentation.voxels, np.eye(4))], "cpu")
    assert measured == Agreement("bfloat16", measured.device, 1, 1.0, 0.0, pytest.approx(1.0))
    assert measured.holds
    before = load_card("clinical", store)
    page = before.directory / "MODEL_CARD.md"
    page.write_text("old words\n## Evaluation\n\n| group | DSC |\n", encoding="utf-8")
    updated_card(before, [measured])
    after = load_card("clinical", store)
    assert after.agreeing_precisions == ("float32", "bfloat16")
    assert after.figures["agreement"]["bfloat16"]["least_dice"] == 1.0
    assert after.weights_sha256 == before.weights_sha256
    words, _, tables = page.read_text(encoding="utf-8").partition("## Evaluation\n")
    assert "Number formats that give the same ear: float32, bfloat16" in words
    assert "old words" not in words
    assert tables == "\n| group | DSC |\n"


@pytest.mark.parametrize("trouble", ["shape", "landmark", "uncertainty", "side"])
def test_a_format_that_changes_the_ear_goes_from_the_card(trouble, store, monkeypatch):
    ear = painted_ear("right", (-40, 10, 20))
    voxels, deviation = ear.segmentation.voxels.copy(), ear.view_deviation.voxels
    voxels[:, :, :31] = 0
    moved = replace(ear.landmarks[0], position_lps=ear.landmarks[0].position_lps + np.array([0.06, 0, 0]))
    other = {
        "shape": replace(ear, segmentation=ear.segmentation.with_voxels(voxels)),
        "landmark": replace(ear, landmarks=(moved, *ear.landmarks[1:])),
        "uncertainty": replace(ear, view_deviation=ear.view_deviation.with_voxels(np.roll(deviation, 3, axis=0))),
        "side": replace(ear, side="left"),
    }[trouble]
    answering(monkeypatch, {"float32": ear, "bfloat16": other})
    card = replace(load_card("clinical", store), agreeing_precisions=("float32", "bfloat16"))
    (measured,) = measured_agreements(card, [Volume(voxels, np.eye(4))], "cpu")
    assert not measured.holds
    assert updated_card(card, [measured]).agreeing_precisions == ("float32",)


@pytest.mark.parametrize("finds", ["float32", "bfloat16"])
def test_an_ear_that_one_format_alone_finds_counts_against_it(store, monkeypatch, finds):
    ear = painted_ear("right", (-40, 10, 20))
    answering(monkeypatch, {"float32": None, "bfloat16": None, finds: ear})
    (measured,) = measured_agreements(load_card("clinical", store), [Volume(ear.segmentation.voxels, np.eye(4))], "cpu")
    assert (measured.ears, measured.dice) == (1, 0.0)
    assert not measured.holds


def test_an_ear_that_the_faster_format_invents_counts_beside_one_that_both_find(store, monkeypatch):
    ear = painted_ear("right", (-40, 10, 20))
    scan = Volume(ear.segmentation.voxels, np.eye(4))
    results = iter([scan_result([ear]), scan_result([ear]), scan_result([]), scan_result([ear])])
    answering(monkeypatch, {})
    monkeypatch.setattr(agreement, "segment", lambda scan, options, models_directory: next(results))
    (measured,) = measured_agreements(load_card("clinical", store), [scan, scan], "cpu")
    assert (measured.ears, measured.dice) == (2, 0.0)


def test_without_a_faster_format_or_an_ear_nothing_is_measured(store, monkeypatch):
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: False)
    with pytest.raises(InputError, match="nothing to measure"):
        measured_agreements(load_card("clinical", store), [], "cpu")
    monkeypatch.setattr(device, "cpu_multiplies_bfloat16", lambda: True)
    with pytest.raises(InputError, match="No ear was found"):
        measured_agreements(load_card("clinical", store), [], "cpu")
