"""Runs a model over cases: one at a time, resumable, within a time budget.

Figures of every case are kept in OUT/cases/MODEL/NAME.json as soon as they are there, with a key of all that they
depend on; a later run takes them from there. Drawn scans are kept as well, and serve every model of that spacing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from InnerEarAILib import __version__
from InnerEarAILib.ear_result import ScanResult
from InnerEarAILib.evaluation.calibration import CALIBRATION_EDGES
from InnerEarAILib.evaluation.cases import CaseRecipe, EvaluationCase, obtained
from InnerEarAILib.evaluation.comparison import CaseFigures, EarFigures, compare, compare_places, refused
from InnerEarAILib.evaluation.metrics import NAN
from InnerEarAILib.failures import failure_of
from InnerEarAILib.inference.merging import NoRoomError
from InnerEarAILib.inference.quality import mean_standard_deviation
from InnerEarAILib.landmark_files import write_json
from InnerEarAILib.model_card import ModelCard, ModelError
from InnerEarAILib.model_store import LOCATOR, list_models, load_network
from InnerEarAILib.preprocessing import lattice_grid, normalise, resample_measured
from InnerEarAILib.progress import Cancelled, Progress
from InnerEarAILib.scan_checks import measured_scan, without_padding
from InnerEarAILib.volume import InputError, Volume

COMPARISON_VERSION = 9
"""Rises with every change of how figures are computed: earlier ones are then computed anew."""


@dataclass(frozen=True)
class Judged:
    """A model as it is judged: with its options.

    Attributes:
        name: of the model.
        figures: from a case to its figures; raises InputError for a scan that is refused.
        key: JSON-able, all that its results depend on.
        has_locator: whether it can look for ears in a whole head.
        looks: a sentence on how ears are looked for; empty where none are.
    """

    name: str
    figures: Callable[[EvaluationCase], CaseFigures]
    key: Mapping[str, Any]
    has_locator: bool
    looks: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation has so far.

    Attributes:
        model: name.
        figures: of the cases that are done.
        left_out: names of cases that this model cannot take on.
        remaining: names of cases that the time did not suffice for.
        failed: a sentence for each case that could not be made or judged; the next run tries it again.
        card: of the model, where the report shall say how it was trained.
        taught: how many cases were left out since the model was trained on them.
        validated: how many chose its weights in training; their groups say so.
        pictures: HTML of further figures, by title.
        views: rotated views of each scan; None where it does not matter.
        looks: see Judged.
        runs: the runs of one configuration that this joins; see pooling.
    """

    model: str
    figures: tuple[CaseFigures, ...]
    left_out: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    card: ModelCard | None = None
    taught: int = 0
    validated: int = 0
    pictures: Mapping[str, str] = field(default_factory=dict)
    views: int | None = None
    looks: str = ""
    runs: tuple[Outcome, ...] = ()


def judged_model(
    card: ModelCard, models_directory: Path | None, device: str = "auto", views: int = 10, whole_volume: bool = False
) -> Judged:
    """The route with a model of the store, or a locator by itself.

    Args:
        card: of any model, wherever it lies.
        models_directory: where the locator is; None: that which is shipped.
        device, views: see segmenter.SegmenterOptions.
        whole_volume: look everywhere without finding the ears first; also done where there is no locator.
    """
    from InnerEarAILib.segmenter import SegmenterOptions, segment

    if card.role == "locator":
        return _judged_locator(card, device)
    locator = next((one for one in list_models(models_directory) if one.name == LOCATOR), None)
    locate = locator is not None and not whole_volume
    options = SegmenterOptions(model=str(card.directory), device=device, views=views, locate=locate)
    key = {
        "weights": card.weights_sha256,
        "locator": locator.weights_sha256 if locate else "",
        "views": views,
        "library": __version__,
        "usual": card.figures.get("usual_standard_deviation"),
    }
    route = judged_route(card.name, lambda scan: segment(scan, options, models_directory=models_directory), key, locate)

    def figures(case: EvaluationCase) -> CaseFigures:
        made = route.figures(case)
        if case.ears or made.false_ears or views == 1:
            return made
        return replace(made, deviation_without_ear=middle_deviation(case.scan, card, device, views))

    if locate:
        looks = f"Ears were looked for with {locator.name} {locator.version}."
    else:
        why = "as was asked for" if whole_volume else f"since there is no locator in {models_directory}"
        looks = f"Ears were looked for in the whole scan, {why}."
    return replace(route, figures=figures, looks=looks)


def middle_deviation(scan: Volume, card: ModelCard, device: str, views: int) -> float:
    """Mean standard deviation of a network over the region in the middle of a scan, as the route has it round an ear.

    Args:
        scan: any.
        card: of a segmenter.
        device: see segmenter.SegmenterOptions.
        views: more than one.

    Returns:
        0 to 0.5; NaN where the scan shows nothing there.
    """
    from InnerEarAILib.inference.device import choose_device
    from InnerEarAILib.inference.predictor import predict

    chosen = choose_device(device)
    centre = scan.grid.centre_lps
    grid = lattice_grid(centre, centre, card.spacing_mm, card.region_voxels)
    try:
        values, known = resample_measured(without_padding(scan), grid)
        normalised = normalise(values)
    except InputError:
        return NAN
    seen = predict(
        load_network(card, chosen),
        normalised,
        tile=card.tile_voxels,
        overlap=card.overlap_voxels,
        views=views,
        device=chosen,
        agreeing_precisions=card.agreeing_precisions,
    )
    return mean_standard_deviation(seen.standard_deviation, known, card.region_voxels)


def judged_route(
    name: str, segment: Callable[[Volume], ScanResult], key: Mapping[str, Any], has_locator: bool = True
) -> Judged:
    """Anything that gives a scan's result, as something to be judged.

    Args:
        name: of the model.
        segment: from a scan to its result; raises InputError for a scan that it refuses.
        key, has_locator: see Judged.
    """

    def figures(case: EvaluationCase) -> CaseFigures:
        begin = time.monotonic()
        result = segment(case.scan)
        return compare(case, result, time.monotonic() - begin)

    return Judged(name, figures, key, has_locator)


def _judged_locator(card: ModelCard, device: str) -> Judged:
    from InnerEarAILib.inference.device import choose_device
    from InnerEarAILib.inference.locator import locate_ears

    chosen = choose_device(device)
    network = load_network(card, chosen)

    def figures(case: EvaluationCase) -> CaseFigures:
        begin = time.monotonic()
        scan = measured_scan(case.scan).volume
        places = [found.centre_lps for found in locate_ears(scan, network, card, chosen, Progress())]
        return compare_places(case, places, time.monotonic() - begin)

    return Judged(card.name, figures, {"locator": card.weights_sha256, "library": __version__}, True)


def evaluate(
    judged: Judged,
    recipes: Sequence[CaseRecipe],
    output: Path,
    drawn: Path | None = None,
    minutes: float | None = None,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Judges a model on cases, in their order.

    Args:
        judged: the model.
        recipes: the cases.
        output: folder of the evaluation.
        drawn: folder of drawn scans; None: OUT/drawn.
        minutes: no case is begun after this time, or when it would probably end later; None: all.
        say: told of every case in a line.
        clock: seconds.

    Raises:
        InputError: the folder cannot be written to.
        ModelError: the model cannot be used.
        ModuleNotFoundError: a case needs a package that is not installed.
        Cancelled: the caller wanted it to stop.
    """
    begin = clock()
    done: list[CaseFigures] = []
    left_out, remaining, failed = [], [], []
    slowest = {True: 0.0, False: 0.0}  # of whole heads, which take many times as long, and of all else
    for number, recipe in enumerate(recipes, start=1):
        if recipe.needs_locator and not judged.has_locator:
            left_out.append(recipe.name)
            continue
        path = output / "cases" / judged.name / f"{recipe.name}.json"
        key = _key(judged, recipe)
        figures = _kept(path, key)
        if figures is None:
            if minutes is not None and clock() - begin + slowest[recipe.needs_locator] > 60 * minutes:
                remaining.append(recipe.name)
                continue
            at = clock()
            try:
                figures = _judged_on(judged, obtained(recipe, drawn or output / "drawn"))
            except (ModelError, Cancelled, ModuleNotFoundError):
                raise
            except Exception as error:  # one case that fails must not cost the others
                failed.append(f"{recipe.name}: {failure_of(error).sentence}")
                say(f"{judged.name} {number}/{len(recipes)} {failed[-1]}")
                continue
            slowest[recipe.needs_locator] = max(slowest[recipe.needs_locator], clock() - at)
            _keep(path, key, figures)
        figures = replace(figures, name=recipe.name, group=recipe.group, patient=recipe.patient)
        done.append(figures)
        say(f"{judged.name} {number}/{len(recipes)} {recipe.name}: {sentence(figures)}")
    return Outcome(judged.name, tuple(done), tuple(left_out), tuple(remaining), tuple(failed), looks=judged.looks)


def sentence(figures: CaseFigures) -> str:
    """One case in a line."""
    if figures.refusal:
        return f"refused ({figures.refusal})"
    found = [f"{ear.side} ear {_told(ear) if ear.found else 'missed'}".strip() for ear in figures.ears]
    if figures.false_ears or not found:
        found.append(f"{figures.false_ears} ears where there is none")
    return f"{'; '.join(found)}; {figures.seconds:.0f} s"


def _told(ear: EarFigures) -> str:
    told = [f"Dice {ear.dice:.3f}"] if ear.dice == ear.dice else []
    told += [f"landmarks {ear.landmarks_mm:.2f} mm"] if ear.landmarks_mm == ear.landmarks_mm else []
    return ", ".join(told) or f"{ear.centre_mm:.1f} mm off"


def _judged_on(judged: Judged, case: EvaluationCase) -> CaseFigures:
    try:
        return judged.figures(case)
    except NoRoomError:  # says nothing of the scan: it is judged the next time
        raise
    except InputError as error:
        return refused(case, str(error))


def _key(judged: Judged, recipe: CaseRecipe) -> str:
    depends = {
        "model": dict(judged.key),
        "case": dict(recipe.described),
        "comparison": [COMPARISON_VERSION, *CALIBRATION_EDGES],
    }
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()


def _kept(path: Path, key: str) -> CaseFigures | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return CaseFigures.from_dict(content["figures"]) if content["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(path: Path, key: str, figures: CaseFigures) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"The folder {path.parent} cannot be written to ({error.strerror}).") from error
    write_json(path, {"key": key, "figures": figures.to_dict()})
