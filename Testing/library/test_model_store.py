"""The model store: what is written comes back; what is damaged is refused in one sentence."""

import errno
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from InnerEarAILib import model_store
from InnerEarAILib.model_card import ModelCard, ModelError
from InnerEarAILib.model_store import (
    choose_model,
    default_directory,
    find_card,
    list_models,
    load_card,
    load_network,
    save_card,
    save_model,
)
from InnerEarAILib.networks.dual_head_unet import DualHeadUNet, DualHeadUNetConfig

PACKAGE_ROOT = Path(model_store.__file__).parents[1]


def small_network(seed=5):
    torch.manual_seed(seed)
    return DualHeadUNet(DualHeadUNetConfig(widths=(4, 6), activation="silu"))


def card(name="tiny", **changes):
    values = {
        "version": "1",
        "role": "segmenter",
        "network": {},
        "spacing_mm": 0.198,
        "tile_voxels": 64,
        "overlap_voxels": 25,
        "heatmap_amplitude": 2.5,
        "heatmap_spread_voxels": 3.0,
        "region_mm": 40.0,
        "trained_on": "Nothing: random weights.",
        "validated_on": "Nothing.",
        "limits": "For tests.",
        "licence": "Apache-2.0",
        "library_version": "0.1.0",
    }
    return ModelCard(name=name, **values | changes)


@pytest.fixture
def store(tmp_path):
    save_model(tmp_path, card(figures={"Dice": {"mean": 0.5}}), small_network())
    return tmp_path


def rewrite_card(store, **changes):
    path = store / "tiny" / "model.json"
    values = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value != "remove"}))


def test_a_saved_model_comes_back(store):
    network = load_network(load_card("tiny", store))
    assert not network.training
    assert network.config == small_network().config
    for name, tensor in small_network().state_dict().items():
        loaded = network.state_dict()[name]
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, tensor.half().float())


def test_a_model_is_found_by_name_or_by_its_folder(store):
    for name in ("n" * 300, "a\0b"):
        with pytest.raises(ModelError, match="There is no model"):
            find_card(name, store)
    assert find_card("tiny", store) == find_card(str(store / "tiny")) == load_card("tiny", store)
    with pytest.raises(ModelError, match="no model 'other'"):
        find_card("other", store)


def test_networks_without_landmarks_are_not_chosen_by_themselves():
    alone = card("gold", network={"heads": "segmentation"})
    flat = card("clinical", method="autocasnet", network={})
    both = card("mine", spacing_mm=0.5)
    assert choose_model(0.3, "cpu", [alone, flat, both]).name == "mine"
    with pytest.raises(ModelError, match="No model that segments"):
        choose_model(0.3, "cpu", [alone, flat])


def test_a_saved_card_comes_back(store):
    written = save_model(store, card("other", agreeing_precisions=("float32", "bfloat16")), small_network())
    assert load_card("other", store) == written
    assert load_card("other", store).directory == store / "other"
    assert load_card("tiny", store).figures == {"Dice": {"mean": 0.5}}


def test_weights_are_stored_in_float16(store):
    parameters = sum(parameter.numel() for parameter in small_network().parameters())
    assert (store / "tiny" / "weights.safetensors").stat().st_size < 2 * parameters + 8000


def test_models_are_listed_by_name(store):
    save_model(store, card("another", role="locator"), small_network())
    (store / "notes").mkdir()
    assert [entry.name for entry in list_models(store)] == ["another", "tiny"]
    assert list_models(store / "notes") == ()


def test_an_unknown_name_lists_the_known_ones(store):
    with pytest.raises(ModelError, match=r"no model 'gold' in .*: there are tiny\."):
        load_card("gold", store)
    with pytest.raises(ModelError, match="holds no models"):
        load_card("gold", store / "tiny")
    with pytest.raises(ModelError, match="no model"):
        load_card("../" + store.name + "/tiny", store)


def test_missing_weights_are_said(store):
    (store / "tiny" / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights of model 'tiny' cannot be read: .*No such file"):
        load_network(load_card("tiny", store))


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-10], lambda content: content[:-1] + b"?", lambda content: b""]
)
def test_damaged_weights_are_never_loaded(store, damage, monkeypatch):
    path = store / "tiny" / "weights.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr("safetensors.torch.load", lambda content: pytest.fail("read before it was checked"))
    with pytest.raises(ModelError, match="truncated or altered"):
        load_network(load_card("tiny", store))


def test_weights_of_another_network_do_not_fit(store):
    rewrite_card(store, network={"widths": [4, 8], "activation": "silu"})
    with pytest.raises(ModelError, match="do not fit its card"):
        load_network(load_card("tiny", store))
    rewrite_card(store, network={"depth": 3})
    with pytest.raises(ModelError, match=r"do not fit its card \(unknown network field depth"):
        load_network(load_card("tiny", store))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"colour": "red"}, "unknown field colour"),
        ({"spacing_mm": "remove"}, "lacks spacing_mm"),
        ({"spacing_mm": "0.2"}, "spacing_mm must be a positive number"),
        ({"spacing_mm": float("nan")}, "spacing_mm must be a positive number"),
        ({"region_mm": -1}, "region_mm must be a positive number"),
        ({"tile_voxels": 64.5}, "overlap_voxels must be"),
        ({"overlap_voxels": 64}, "overlap_voxels must be from 0 to below tile_voxels"),
        ({"role": "segment"}, "role must be one of segmenter, locator"),
        ({"method": "vnet"}, "method must be one of dual_head_unet, jsdnet, autocasnet"),
        ({"clip_quantiles": [0.02, 0.98]}, r"clip_quantiles must be \[0.01, 0.99\], where scans are clipped"),
        ({"clip_quantiles": 0.01}, r"clip_quantiles must be \[0.01, 0.99\]"),
        ({"region_mm": 9}, "region_mm must be at least 10"),
        ({"tile_voxels": 63}, "tile_voxels must be a multiple of 2, since the network halves it 1 times"),
        ({"figures": {"usual_standard_deviation": "0.01"}}, "usual_standard_deviation must be a positive number"),
        ({"licence": ""}, "licence must be a text"),
        ({"network": []}, "must be JSON objects"),
        ({"agreeing_precisions": "bfloat16"}, "agreeing_precisions must be a list"),
        ({"weights_file": "../weights.safetensors"}, "weights_file must be a plain file name"),
        ({"name": "gold"}, "names another model, 'gold'"),
    ],
)
def test_a_wrong_card_is_refused_in_one_sentence(store, changes, complaint):
    rewrite_card(store, **changes)
    with pytest.raises(ModelError, match=complaint) as caught:
        load_card("tiny", store)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_card_that_is_no_json_object_is_refused(store, text):
    (store / "tiny" / "model.json").write_text(text)
    with pytest.raises(ModelError, match="JSON"):
        list_models(store)


@pytest.mark.parametrize("fault", ["{", json.dumps({"name": "newer", "colour": "red"})])
def test_a_wrong_card_does_not_hide_the_other_models(store, caplog, fault):
    model_store._warn_once.cache_clear()
    (store / "newer").mkdir()
    (store / "newer" / "model.json").write_text(fault)
    for _ in range(2):
        assert [entry.name for entry in list_models(store)] == ["tiny"]
    (warning,) = caplog.messages
    assert "newer" in warning
    with pytest.raises(ModelError, match="newer"):
        load_card("newer", store)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    network = small_network()
    with torch.no_grad():
        network.encoder.downs[0].weight[0] = 1e6
    with pytest.raises(ModelError, match=r"weight encoder\.downs\.0\.weight is not a finite float16 number"):
        save_model(tmp_path / "store", card(), network)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", ""])
def test_a_name_that_is_no_folder_name_is_not_saved(tmp_path, name):
    with pytest.raises(ModelError):
        save_model(tmp_path / "store", card(name), small_network())
    assert not (tmp_path / "store").exists()


def test_saving_again_replaces_the_model(store):
    save_model(store, card(version="2"), small_network(seed=6))
    assert load_card("tiny", store).version == "2"
    assert load_network(load_card("tiny", store)).state_dict().keys() == small_network().state_dict().keys()
    assert [path.name for path in store.iterdir()] == ["tiny"]


@pytest.fixture
def full_disk(store, monkeypatch):
    """The disk is full once the store is filled."""
    write_text = Path.write_text

    def write_unless_a_card(path, *given, **named):
        if path.name == "model.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, *given, **named)

    monkeypatch.setattr(Path, "write_text", write_unless_a_card)


@pytest.mark.usefixtures("full_disk")
def test_a_failed_save_leaves_the_old_model_and_nothing_else(store):
    with pytest.raises(OSError, match="No space"):
        save_model(store, card(version="2"), small_network(seed=6))
    assert load_card("tiny", store).version == "1"
    load_network(load_card("tiny", store))
    assert [path.name for path in store.iterdir()] == ["tiny"]


def test_a_card_is_rewritten_and_what_lies_beside_it_stays(store):
    before = load_card("tiny", store)
    (before.directory / "MODEL_CARD.md").write_text("A page.")
    beside = {path.name: path.read_bytes() for path in before.directory.iterdir() if path.name != "model.json"}
    save_card(replace(before, limits="Other words."))
    assert load_card("tiny", store) == replace(before, limits="Other words.")
    left = {path.name: path.read_bytes() for path in before.directory.iterdir() if path.name != "model.json"}
    assert left == beside


def test_a_card_that_is_not_allowed_is_not_written(store):
    before = load_card("tiny", store)
    with pytest.raises(ModelError):
        save_card(replace(before, spacing_mm=-1.0))
    assert load_card("tiny", store) == before


@pytest.mark.usefixtures("full_disk")
def test_a_card_that_cannot_be_written_is_as_it_was(store):
    before = load_card("tiny", store)
    with pytest.raises(ModelError, match=r"cannot be written to .*No space left"):
        save_card(replace(before, limits="Other words."))
    assert load_card("tiny", store) == before
    assert {path.name for path in before.directory.iterdir()} == {"model.json", "weights.safetensors"}


def test_the_environment_names_the_store(store, monkeypatch):
    monkeypatch.setenv(model_store.MODELS_VARIABLE, str(store))
    assert default_directory() == store
    assert [entry.name for entry in list_models()] == ["tiny"]


def test_the_source_tree_and_an_installed_module_are_found(tmp_path, monkeypatch):
    monkeypatch.delenv(model_store.MODELS_VARIABLE, raising=False)
    package = tmp_path / "InnerEarAI" / "InnerEarAILib"
    package.mkdir(parents=True)
    monkeypatch.setattr(model_store, "__file__", str(package / "model_store.py"))
    assert default_directory() == tmp_path / "models"
    (package / "models").mkdir()
    assert default_directory() == package / "models"


GOLD, CLINICAL, LOCATOR = (
    card("gold", spacing_mm=0.099),
    card("clinical"),
    card("locator", role="locator", spacing_mm=0.5),
)


@pytest.mark.parametrize(
    ("spacing_mm", "device", "cards", "expected"),
    [
        (0.099, "cuda", (CLINICAL, GOLD, LOCATOR), "gold"),
        (0.15, torch.device("cuda", 1), (CLINICAL, GOLD, LOCATOR), "gold"),
        (0.16, "cuda", (CLINICAL, GOLD, LOCATOR), "clinical"),
        (0.099, torch.device("cpu"), (CLINICAL, GOLD, LOCATOR), "clinical"),
        (0.099, "cuda", (CLINICAL, LOCATOR), "clinical"),
        (0.5, "cpu", (GOLD, LOCATOR), "gold"),
        (0.5, "cpu", (GOLD, replace(CLINICAL, name="mine", spacing_mm=0.25)), "mine"),
    ],
)
def test_the_model_suits_the_scan_and_the_device(spacing_mm, device, cards, expected):
    assert choose_model(spacing_mm, device, cards).name == expected


def test_without_a_segmenter_there_is_nothing_to_choose():
    with pytest.raises(ModelError, match="No model that segments"):
        choose_model(0.2, "cpu", (LOCATOR,))


def test_listing_models_does_not_load_torch(store):
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE_ROOT)!r})\n"
        "from InnerEarAILib.model_store import list_models\n"
        f"print([card.name for card in list_models({str(store)!r})], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tiny'] False"
