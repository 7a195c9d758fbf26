"""The outcome of a benchmark as JSON, as tables to read, and as a plot of cost against tiles and scan size."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from InnerEarAILib.benchmark.contenders import OURS
from InnerEarAILib.benchmark.timing import Comparison, RouteTiming
from InnerEarAILib.evaluation.report import write_text
from InnerEarAILib.whole_files import replacing


def write_benchmark(
    directory: Path, conditions: Mapping[str, Any], routes: Sequence[RouteTiming], comparisons: Sequence[Comparison]
) -> list[Path]:
    """Writes benchmark.json, benchmark.md and, where matplotlib is installed, benchmark.png; each whole.

    Args:
        directory: made if absent.
        conditions: device, threads, versions: plain values.
        routes: file to result files.
        comparisons: with other inferers.

    Raises:
        InputError: if a file cannot be written.
    """
    values = {
        "conditions": dict(conditions),
        "routes": [{**asdict(route), "median_seconds": route.durations.median} for route in routes],
        "comparisons": [
            {**asdict(one), "tiles_per_second": one.tiles_per_second, "tflops": one.tflops} for one in comparisons
        ],
    }
    files = [
        write_text(directory / "benchmark.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n"),
        write_text(directory / "benchmark.md", tables(conditions, routes, comparisons)),
    ]
    if importlib.util.find_spec("matplotlib") and any(route.ears for route in routes):
        files.append(directory / "benchmark.png")
        draw_cost(files[-1], routes)
    return files


def tables(conditions: Mapping[str, Any], routes: Sequence[RouteTiming], comparisons: Sequence[Comparison]) -> str:
    """The same as Markdown."""
    parts = ["# Benchmark", "\n".join(f"- {name}: {value}" for name, value in conditions.items())]
    if routes:
        parts += ["## From the file to the result files (medians)", _route_table(routes)]
    if comparisons:
        parts += ["## The same tiles and views, in turns (medians)", _comparison_table(comparisons)]
    return "\n\n".join(parts) + "\n"


def draw_cost(path: Path, routes: Sequence[RouteTiming]) -> None:
    """What a scan costs: by the tiles it needs, by its voxels, by the blocks in which its ears are looked for.

    Args:
        path: of the picture.
        routes: with an ear in one at least; the tiles of the others are not known.
    """
    from matplotlib.figure import Figure

    found = [route for route in routes if route.ears]
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    by_tiles, by_voxels, by_blocks = figure.subplots(1, 3)
    for number, preset in enumerate(dict.fromkeys(route.preset for route in found)):
        members = [route for route in found if route.preset == preset]
        style = {"marker": "os^"[number % 3], "linestyle": "none", "label": preset, "color": f"C{number}"}
        segmenting = [route.steps.get("predicting", 0.0) for route in members]
        by_tiles.plot([route.passes for route in members], segmenting, **style)
        an_ear = [seconds / route.ears for seconds, route in zip(segmenting, members, strict=True)]
        by_voxels.plot([_million_voxels(route) for route in members], an_ear, **style)
        located = [route for route in members if route.blocks]
        finding = [route.steps.get("finding the ears", 0.0) for route in located]
        by_blocks.plot([route.blocks for route in located], finding, **style)
    _name_scans(by_voxels, found)
    by_tiles.set(xlabel="tiles × views", ylabel="seconds of segmenting")
    by_voxels.set(xlabel="million voxels of the scan", ylabel="seconds of segmenting an ear")
    by_blocks.set(xlabel="blocks of the scan, at most", ylabel="seconds of finding the ears")
    by_tiles.legend(frameon=False)
    for axes, room in ((by_tiles, 1.1), (by_voxels, 1.5), (by_blocks, 1.1)):
        highest = axes.dataLim.y1  # not finite where nothing was drawn: every scan was looked at as a whole
        axes.set_ylim(0, room * highest if np.isfinite(highest) and highest > 0 else 1)
    for axes in (by_tiles, by_blocks):
        axes.set_xlim(left=0)
    by_voxels.set_xscale("log")
    by_voxels.margins(x=0.15)
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=120)


def _name_scans(axes: Any, routes: Sequence[RouteTiming]) -> None:
    """The names of the scans along the upper edge, upright, each over its voxels."""
    for scan, voxels in {route.scan: _million_voxels(route) for route in routes}.items():
        place = {"xytext": (0, -4), "textcoords": "offset points", "ha": "center", "va": "top", "rotation": 90}
        axes.annotate(scan, (voxels, 1), xycoords=("data", "axes fraction"), fontsize=7, color="grey", **place)


def _million_voxels(route: RouteTiming) -> float:
    return float(np.prod(route.voxels, dtype=float)) / 1e6


def _route_table(routes: Sequence[RouteTiming]) -> str:
    steps = list(dict.fromkeys(step for route in routes for step in route.steps))
    head = [
        "scan",
        "voxels",
        "preset",
        "ears",
        "tiles × views",
        "format",
        "seconds",
        "of processor",
        *steps,
        "host GiB",
        "device GiB",
    ]
    rows = [
        [
            route.scan,
            "×".join(map(str, route.voxels[::-1])),
            route.preset,
            route.ears,
            route.passes,
            route.precision,
            f"{route.durations.median:.1f}",
            f"{route.durations.processor_median:.1f}",
            *(f"{route.steps.get(step, 0):.1f}" for step in steps),
            _known(route.host_gib),
            _known(route.device_gib),
        ]
        for route in routes
    ]
    return _table(head, rows)


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    head = ["scan", "tiles", "views", "contender", "seconds", "of processor", "times as long", "tiles/s", "TFLOP/s"]
    head.append("of a product")
    rows = []
    for one in comparisons:
        ours = one.durations[OURS]
        for name, taken in one.durations.items():
            is_ours = name == OURS
            rate = one.tiles * one.views / taken.median
            times = f"{taken.median / ours.median:.2f} ({taken.processor_median / ours.processor_median:.2f})"
            # A rate in another format than the product's would compare two different things.
            share = f"{one.tflops / one.product_tflops:.0%}" if is_ours else ""
            seconds = [f"{taken.median:.2f}", f"{taken.processor_median:.2f}", times]
            cells = [
                f"{name} ({one.precision})" if is_ours else name,
                *seconds,
                f"{rate:.2f}",
                f"{rate * one.tflop:.3f}",
            ]
            rows.append([one.scan, one.tiles, one.views, *cells, share])
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
