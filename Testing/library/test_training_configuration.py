"""Configurations: those that come with the library, and one sentence for each mistake in others."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from InnerEarAILib.cli import main
from InnerEarAILib.training.configuration import (
    CONFIGURATION_FOLDER,
    ConfigurationError,
    changed,
    configuration_of,
    read_configuration,
    read_table,
)
from InnerEarAILib.training.data_settings import ManifestData, PhantomData, data_settings
from InnerEarAILib.training.objectives import TwoStepObjective
from InnerEarAILib.training.schedules import NAMED_HEATMAP_SCHEDULES
from InnerEarAILib.training.toml_text import toml_text
from InnerEarAILib.training.validation import MILLIMETRES_WORTH_ALL_OF_DICE

VALID = """
name = "tiny"
role = "segmenter"
description = "For tests."
spacing_mm = 0.5
tile_voxels = 16
[network]
widths = [4, 6, 8]
"""


def test_all_configurations_of_the_design_are_there():
    names = {file.stem for file in CONFIGURATION_FOLDER.glob("*.toml")}
    assert names >= {"gold", "clinical", "locator", "segmentation_only", "heatmaps_only"}


def test_the_help_of_train_names_them_all(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out.replace("\n", " ")
    assert all(f" {file.stem}" in said for file in CONFIGURATION_FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", sorted(CONFIGURATION_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_configuration_that_comes_with_the_library_is_valid(path):
    config = read_configuration(path.stem)
    assert config.name == path.stem
    data = data_settings(config.data)
    if isinstance(data, PhantomData):
        assert data.at_start <= data.at_most
    else:
        assert data.manifest == ""


def test_gold_is_the_papers_network_and_protocol():
    gold = read_configuration("gold")
    assert gold.network.widths == (32, 64, 128, 256, 320)
    assert (gold.network.normalisation, gold.network.activation) == ("instance", "mish")
    assert (gold.network.attention_gates, gold.network.deep_supervision) == ("both", True)
    assert (gold.spacing_mm, gold.tile_voxels) == (0.099, 128)
    steps = gold.optimisation
    assert (steps.iterations, steps.accumulation, steps.weight_decay) == (75_000, 15, 0.025)
    assert (steps.optimiser, gold.watch.validate_every, gold.loss.segmentation) == ("adamw", 750, "dice_bce")
    assert gold.heatmaps == NAMED_HEATMAP_SCHEDULES["gamma"]


@pytest.mark.parametrize(
    ("words", "value", "stated"),
    [
        ("learning rate 1e-3", lambda gold, data: gold.optimisation.learning_rate, 1e-3),
        ("its rise (5 %)", lambda gold, data: gold.optimisation.warmup_share, 0.05),
        ("fall (35 %)", lambda gold, data: gold.optimisation.annealing_share, 0.35),
        ("one tile a pass", lambda gold, data: gold.optimisation.batch, 1),
        ("8 : 4 : 2 : 1", lambda gold, data: [8 * w for w in gold.loss.supervision_weights], [8, 4, 2, 1]),
        ("bfloat16", lambda gold, data: gold.optimisation.precision, "bf16"),
        ("clipped at length 12", lambda gold, data: gold.optimisation.gradient_norm, 12),
        ("heatmaps weigh 64", lambda gold, data: gold.loss.heatmap_weight, 64),
        ("cut to 40 mm", lambda gold, data: data.region_mm, 40),
        ("70 % of them at the labyrinth", lambda gold, data: data.labyrinth_share, 0.7),
        ("eight tiles of each held-out scan", lambda gold, data: data.validation_tiles, 8),
        ("38 and 5 of 43 scans", lambda gold, data: data.held_out_of(43), 5),
        ("a tenth of the landmarks' mean error", lambda gold, data: MILLIMETRES_WORTH_ALL_OF_DICE, 10),
    ],
)
def test_gold_says_where_it_is_not_the_papers(words, value, stated):
    text = (CONFIGURATION_FOLDER / "gold.toml").read_text(encoding="utf-8").replace("\n# ", " ")
    assert words in text
    assert value(read_configuration("gold"), ManifestData()) == stated


def test_baselines_say_where_they_are_not_the_papers():
    texts = {
        name: (CONFIGURATION_FOLDER / f"{name}.toml").read_text(encoding="utf-8").replace("\n# ", " ")
        for name in ("jsdnet", "autocasnet")
    }
    jsdnet = read_configuration("jsdnet")
    assert "Half of the 75 000 iterations for each network" in texts["jsdnet"]
    assert (jsdnet.optimisation.iterations, TwoStepObjective.stages) == (75_000, 2)
    assert "the code adds a Dice loss to the cross-entropy" in texts["autocasnet"]
    assert read_configuration("autocasnet").loss.segmentation == "bce"


@pytest.mark.parametrize("heads", ["segmentation", "heatmaps"])
def test_single_task_configuration_is_base_but_for_the_other_head(heads):
    base, single = read_configuration("base"), read_configuration(f"{heads}_only")
    changed = {"name": single.name, "description": single.description, "network": replace(base.network, heads=heads)}
    assert single == replace(base, **changed)


def test_an_unknown_loss_is_noticed_when_the_configuration_is_read(tmp_path):
    (tmp_path / "mine.toml").write_text(f'{VALID}[loss]\nsegmentation = "focal"\n', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"segmentation must be dice_bce, .* or bce, got 'focal'"):
        read_configuration(tmp_path / "mine.toml")


PHANTOM = """
[data]
kind = "phantom"
anatomies = { temporal_bone = 1.0 }
anatomy_spacing_mm = 0.3
anatomy_extent_mm = 40.0
MORE
[data.sampling]
scanners = { multi_slice = 1.0 }
"""


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ('role = "bla"', "role must be segmenter or locator, got 'bla'"),
        ('name = "my model/1"', "name must be of letters, digits"),
        ('name = ""', "name must be of letters, digits"),
        ("name = 3", "name must be a text, got 3"),
        ("spacing_mm = -1", "spacing_mm must be positive, got -1"),
        ("spacing_mm = nan", "spacing_mm must be a number, got nan"),
        ('tile_voxels = "128"', "tile_voxels must be a whole number, got '128'"),
        ("tile_voxels = 18", "tile_voxels must be a multiple of 4, got 18"),
        ("seed = -1", "seed must be at least 0"),
        ("like = 3", "like must name a configuration, got 3"),
        ("widths = 3", "unknown entry widths"),
        ("[network]\nwidths = 3", "widths must be a list"),
        ("[optimisation]\niterations = 1e3", "iterations must be a whole number, got 1000.0"),
        ('[optimisation]\nlearning_rate = "1e-3"', "learning_rate must be a number, got '1e-3'"),
        ("[optimisation]\nlearning_rate = true", "learning_rate must be a number, got True"),
        ("[optimisation]\nbetas = [0.9]", "betas must be a list of 2 numbers, got [0.9]"),
        ("[optimisation]\nbetas = [0.9, 1.5]", "betas must be at least 0 and below 1, got 1.5"),
        ("[optimisation]\nannealing_share = 2", "together at most 1"),
        ("[optimisation]\nweight_decay = -1", "weight_decay must be at least 0"),
        ('[optimisation]\noptimiser = "sgd"\nmomentum = 0', "momentum must be positive"),
        ("[watch]\nworkers = -1", "workers must be at least 0"),
        ("[watch]\nworker = 1", "[watch] has the unknown entry worker"),
        ("[loss]\nheatmap_weight = -1", "heatmap_weight must be at least 0, got -1"),
        ("[loss]\nsupervision_weights = []", "supervision_weights must begin with a number above 0"),
        ("[loss]\nheatmap_weight = 0\nsegmentation_weight = 0", "cannot both be 0"),
        ("[loss]\ncross_entropy_weight = -1", "cross_entropy_weight must be at least 0"),
        ("[heatmaps]\nshedule = 'beta'", "[heatmaps] has the unknown entry shedule; known are milestones, schedule"),
        ("[heatmaps]\nschedule = 'beta'\nmilestones = [[0, 1, 8]]", "give one of them"),
        ("[heatmaps]\nmilestones = [[0, 1]]", "milestones must be a list of lists of 3 numbers, got "),
        ("[heatmaps]\nmilestones = [[0, 1, 8], [30, 2, 4]]", "shares of the training, 0 to 1, got 30"),
        ('[data]\nkind = "manifest"\nvalidation_casez = 5', "[data] has the unknown entry validation_casez"),
        ('[data]\nkind = "manifest"\nvalidation_cases = 0', "validation_cases must be at least 1"),
        ('[data]\nkind = "manifest"\nlabyrinth_share = 70', "labyrinth_share must be a share, 0 to 1, got 70"),
        ('[data]\nkind = "manifest"\ntiles = "all"', "tiles must be random or whole"),
        ('[data]\nkind = "drawn"', "[data] has the kind 'drawn'"),
        (PHANTOM.replace("temporal_bone", "temporal"), "anatomies has the unknown entry temporal; known are temporal_"),
        (PHANTOM.replace("{ temporal_bone = 1.0 }", "2"), "anatomies must be a table of numbers, got 2"),
        (PHANTOM.replace("MORE", "at_start = 20\npool_size = 10"), "pool_size must be at least 20, got 10"),
        (PHANTOM.replace("multi_slice = 1.0", "multi_slice = 0"), "scanners must weigh at least one of flat_panel"),
        (PHANTOM.replace("MORE", "") + "size = [1.1, 0.9]", "size must be the smaller and the larger end"),
        (PHANTOM.replace("MORE", "") + "cut_share = 10", "cut_share must be a share"),
        (PHANTOM.replace("MORE", "") + "colour = 1", "[data.sampling] has the unknown entry colour"),
    ],
)
def test_wrong_value_is_said_when_the_configuration_is_read(tmp_path, wrong, words):
    head, _, network = VALID.partition("[network]")
    entry = wrong.partition(" =")[0]
    kept = "".join(line for line in head.splitlines(keepends=True) if not line.startswith(f"{entry} ="))
    wrong = wrong.replace("MORE\n", "")
    sections = f"{wrong}\n" if wrong.startswith("[network]") else f"[network]{network}{wrong}\n"
    path = tmp_path / "mine.toml"
    path.write_text(kept + sections if wrong.lstrip().startswith("[") else f"{kept}{wrong}\n[network]{network}")
    with pytest.raises(ConfigurationError) as raised:
        read_configuration(path)
    assert words in str(raised.value)
    assert str(raised.value).startswith("mine.toml: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("base", ["gold", "clinical"])
@pytest.mark.parametrize(
    ("heatmaps", "first"), [({"schedule": "constant"}, (2, 3)), ({"milestones": [[0, 1, 4]]}, (1, 4))]
)
def test_heatmaps_are_those_that_were_named_last(base, heatmaps, first):
    shape = configuration_of(changed(read_table(base), {"heatmaps": heatmaps})).heatmaps.at(0)
    assert (shape.amplitude, shape.spread) == first


@pytest.mark.parametrize("path", sorted(CONFIGURATION_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_configuration_is_read_back_as_it_was_written(path):
    table = read_table(path.stem)
    assert tomllib.loads(toml_text(table)) == table


def test_any_text_and_any_number_is_read_back_from_toml():
    table = {
        "text": 'a "b" \\ ü 🦻 \n\x7f\x00',
        "numbers": [1, -2.5, 1e-7, 1e22],
        "a key": {"empty": {}, "deep": {"yes": True}},
    }
    assert tomllib.loads(toml_text(table)) == table


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[network]\nwidth = 3", "unknown network field width"),
        ("[loss]\nsegmentation_wieght = 2", "unknown entry segmentation_wieght"),
        ('[optimisation]\noptimiser = "lion"', "adamw or sgd"),
        ("[optimisation]\nlearning_rate = 0", "learning_rate must be positive"),
        ("[optimisation]\naccumulation = 0", "accumulation must be at least 1"),
        ("[optimisation]\nema_decay = 1.0", "ema_decay"),
        ('[optimisation]\nprecision = "fp8"', "bf16 or fp32"),
        ("[watch]\nreport_every = 0", "report_every"),
        ('[heatmaps]\nschedule = "delta"', "there are constant, alpha, beta, gamma"),
        ("[heatmaps]\nmilestones = [[0.5, 1, 8]]", "first milestone at progress 0"),
        ('method = "guess"', "there are dual_head_unet, jsdnet, autocasnet"),
        ("[speed]\nfast = true", "unknown entry speed"),
        ("tile_voxels = 18", "multiple of 4"),
        ("[network", "not a TOML file"),
    ],
)
def test_mistake_in_a_configuration_is_said_in_one_sentence(tmp_path, more, words):
    text = VALID.replace("tile_voxels = 16\n", "") if more.startswith("tile") else VALID
    head, _, network = text.partition("[network]")
    if more.startswith("[network]"):
        text = head + more
    else:
        text = f"{head}{more}\n[network]{network}" if more.startswith(("tile", "method")) else f"{text}{more}\n"
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        read_configuration(path)
    assert words in str(raised.value)
    assert "mine.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_base_is_the_papers_base():
    base, gold = read_configuration("base"), read_configuration("gold")
    assert base.network == replace(gold.network, activation="leaky_relu", attention_gates="none")
    assert base.optimisation == replace(gold.optimisation, accumulation=10)
    assert base.data == {"kind": "manifest", "augmentation": "alpha"}


def test_jsdnet_is_trained_as_the_base_is():
    base, jsdnet, plain = map(read_configuration, ("base", "jsdnet", "jsdnet_unaugmented"))
    assert (jsdnet.method, jsdnet.optimisation, jsdnet.data) == ("jsdnet", base.optimisation, base.data)
    assert plain.network == jsdnet.network
    assert plain.data["augmentation"] == "none"


@pytest.mark.parametrize("block", ["plain", "residual", "squeeze_excitation"])
def test_single_2d_network_is_the_cascade_but_for_its_planes(block):
    ending, start = ("", "") if block == "plain" else (f"_{block}", f"{block}_")
    cascade, single = read_configuration(f"autocasnet{ending}"), read_configuration(f"{start}unet_2d")
    assert cascade.network.planes == ("coronal", "sagittal", "axial")
    assert single.network == replace(cascade.network, planes=("axial",))
    assert single.network.block == block
    assert single.data == cascade.data
    assert single.tile_voxels == 256
    assert cascade.optimisation.iterations == 3 * single.optimisation.iterations
    steps = single.optimisation
    assert (steps.learning_rate, steps.slices, single.loss.segmentation) == (1e-4, 20, "bce")


def test_configuration_like_another_differs_in_what_it_says(tmp_path):
    (tmp_path / "mine.toml").write_text('like = "other.toml"\nname = "mine"\n[loss]\nheatmap_weight = 3.0')
    (tmp_path / "other.toml").write_text(VALID + '[loss]\nsegmentation = "bce"')
    mine, other = (read_configuration(tmp_path / name) for name in ("mine.toml", "other.toml"))
    assert mine == replace(other, name="mine", loss=replace(other.loss, heatmap_weight=3.0))


def test_data_set_is_looked_for_beside_the_configuration_that_names_it(tmp_path, monkeypatch):
    for folder in ("mine", "others", "far/here/near", "clinic"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "far" / "here")
    for place in ("clinic/set.toml", "far/here/near/set.toml"):
        (tmp_path / place).touch()
    mine, other = tmp_path / "mine" / "mine.toml", tmp_path / "others" / "other.toml"
    mine.write_text('like = "../others/other.toml"\n[data]\nfold = 2\n')

    def found(manifest):
        other.write_text(f'{VALID}[data]\nkind = "manifest"\nmanifest = "{manifest}"\n')
        data = read_configuration(mine).data
        assert data["fold"] == 2
        return Path(data["manifest"])

    assert found("../clinic/set.toml").resolve() == tmp_path / "clinic" / "set.toml"
    assert found("near/set.toml") == Path("near/set.toml")  # there as seen from the current folder alone
    assert found("nowhere.toml") == Path("nowhere.toml")
    assert found((tmp_path / "clinic" / "set.toml").as_posix()) == tmp_path / "clinic" / "set.toml"


def test_configuration_that_a_program_of_windows_has_saved_is_read(tmp_path):
    (tmp_path / "plain.toml").write_text(VALID, encoding="utf-8")
    (tmp_path / "marked.toml").write_text(VALID, encoding="utf-8-sig")
    assert read_configuration(tmp_path / "marked.toml") == read_configuration(tmp_path / "plain.toml")


def test_configurations_like_each_other_are_refused(tmp_path):
    for name, like in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.toml").write_text(f'like = "{(tmp_path / like).as_posix()}.toml"')
    with pytest.raises(ConfigurationError, match=r"a\.toml is like itself by way of b\.toml"):
        read_configuration(tmp_path / "a.toml")


def test_configuration_for_labelled_scans_asks_for_them(tmp_path, capsys):
    assert main(["train", "base", "--device", "cpu", "-o", str(tmp_path / "run")]) == 2
    assert "name them with --data" in capsys.readouterr().err


def test_missing_entry_is_said(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(VALID.replace("spacing_mm = 0.5\n", ""))
    with pytest.raises(ConfigurationError, match="spacing_mm"):
        read_configuration(path)


def test_name_that_is_no_configuration_lists_those_there_are():
    with pytest.raises(
        ConfigurationError,
        match=r"autocasnet.*, clinical, gold, heatmaps_only, .*locator, .*segmentation_only",
    ):
        read_configuration("silver")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["silver"], "none of that name"),
        (["clinical", "--fold", "1"], "--fold needs a data set"),
        (["gold", "--data", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["gold", "--device", "abacus"], "abacus"),
    ],
)
def test_train_command_ends_with_2_and_one_line_where_it_cannot_begin(tmp_path, capsys, arguments, words):
    assert main(["train", *arguments, "-o", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err


def test_train_command_does_not_overwrite_a_run(tmp_path, capsys):
    (tmp_path / "checkpoint.safetensors").touch()
    assert main(["train", "clinical", "--device", "cpu", "-o", str(tmp_path)]) == 2
    assert "add --resume" in capsys.readouterr().err
