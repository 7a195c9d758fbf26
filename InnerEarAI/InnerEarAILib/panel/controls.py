"""The choices of the panel: what stands in its selectors, and how they follow the parameter node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slicer.i18n import tr as _

from InnerEarAILib.model_card import ModelCard
from InnerEarAILib.segmenter_options import PRESETS

AS_PRESET = "preset"
"""The value of an advanced choice that is left to the preset."""

_CHOICES = {"region": {"located": True, "whole": False}, "postprocessing": {"on": True, "off": False}}


def options_of(parameters: Any) -> dict[str, Any]:
    """The fields of SegmenterOptions that a parameter node asks for; what is left to the preset is left out."""
    options = {name: getattr(parameters, name) for name in ("preset", "model", "device", "ear")}
    options |= {"output_grid": parameters.outputGrid, "contrast_matching": parameters.contrastMatching}
    if parameters.views != AS_PRESET:
        options["views"] = int(parameters.views)
    if parameters.region != AS_PRESET:
        options["locate"] = _CHOICES["region"][parameters.region]
    if parameters.postprocessing != AS_PRESET:
        options["postprocess"] = _CHOICES["postprocessing"][parameters.postprocessing]
    return options


class Controls:
    """The selectors of the panel.

    Args:
        ui: the widgets by name.
        on_change: called with a parameter's name and its new value when the user has chosen.
    """

    def __init__(self, ui: Any, on_change: Callable[[str, Any], None]) -> None:
        self._ui = ui
        self._selectors = {
            "ear": ui.earSelector,
            "preset": ui.presetSelector,
            "model": ui.modelSelector,
            "device": ui.deviceSelector,
            "views": ui.viewsSelector,
            "region": ui.regionSelector,
            "postprocessing": ui.postprocessingSelector,
            "outputGrid": ui.gridSelector,
        }
        self._fill("ear", _ears())
        self._fill("preset", _presets())
        self._fill("outputGrid", _grids())
        for name, selector in self._selectors.items():
            selector.connect(
                "currentIndexChanged(int)",
                lambda index, name=name, selector=selector: on_change(name, selector.itemData(index)),
            )
        ui.contrastCheckBox.connect("toggled(bool)", lambda on: on_change("contrastMatching", on))
        # By the user alone: when a scene is added or a node removed, Slicer's selector goes to another node by itself.
        ui.inputSelector.connect("nodeActivated(vtkMRMLNode*)", lambda node: on_change("inputVolume", node))

    def show(self, parameters: Any) -> None:
        """Sets every control to its parameter. What the user did last stays as it is: nothing is called back."""
        self._fill_advanced(parameters.preset)
        for name, selector in self._selectors.items():
            self._choose(selector, getattr(parameters, name))
        ui = self._ui
        with _silent(ui.contrastCheckBox), _silent(ui.inputSelector):
            ui.contrastCheckBox.checked = parameters.contrastMatching
            # Set again to the same, Slicer's selector would close its list while the user chooses from it.
            if ui.inputSelector.currentNode() is not parameters.inputVolume:
                ui.inputSelector.setCurrentNode(parameters.inputVolume)

    def offer_models(self, cards: Iterable[ModelCard], automatic: str) -> None:
        """What can be chosen as model; `automatic` is the name of the one that would be taken by itself."""
        text = _("Automatic ({name})").format(name=automatic) if automatic else _("Automatic")
        segmenters = {card.name: f"{card.name} {card.version}" for card in cards if card.role == "segmenter"}
        self._fill("model", {"auto": text, **segmenters})

    def offer_devices(self, devices: Mapping[str, str]) -> None:
        """What can be chosen as device: descriptions by name; none where it is not yet known."""
        names = {name: text if name.startswith("cpu") else f"{text} ({name})" for name, text in devices.items()}
        self._fill("device", {"auto": _("Automatic"), **(names or {"cpu": "CPU"})})

    def set_enabled(self, enabled: bool) -> None:
        """Whether anything can be chosen."""
        self._ui.inputSelector.enabled = enabled
        self._ui.contrastCheckBox.enabled = enabled
        for selector in self._selectors.values():
            selector.enabled = enabled

    def _fill_advanced(self, preset: str) -> None:
        chosen = PRESETS.get(preset, PRESETS["standard"])
        views = {"10": _("10, more careful"), "1": _("1, faster")}
        regions = {"located": _("the ears that are found"), "whole": _("the whole scan")}
        postprocessing = {"on": _("on: the largest region"), "off": _("off: the raw output")}
        located = "located" if chosen.locate else "whole"
        for name, texts, by_preset in (
            ("views", views, str(chosen.views)),
            ("region", regions, located),
            ("postprocessing", postprocessing, "on" if chosen.postprocess else "off"),
        ):
            self._fill(name, {AS_PRESET: _("as preset: {choice}").format(choice=texts[by_preset]), **texts})

    def _fill(self, name: str, texts: Mapping[str, str]) -> None:
        selector = self._selectors[name]
        there = {selector.itemData(number): selector.itemText(number) for number in range(selector.count)}
        if there == dict(texts):
            return
        chosen = selector.itemData(selector.currentIndex)
        with _silent(selector):
            selector.clear()
            for value, text in texts.items():
                selector.addItem(text, value)
        if chosen is not None:
            self._choose(selector, chosen)

    def _choose(self, selector: Any, value: str) -> None:
        index = selector.findData(value)
        with _silent(selector):
            if index < 0:
                # Of a scene from another computer: it stays chosen, and the hint says that it is not there.
                selector.addItem(_("{name} (not here)").format(name=value), value)
                index = selector.count - 1
            selector.currentIndex = index


class _silent:  # noqa: N801 (reads as a word in a with statement)
    """No signals of a widget within."""

    def __init__(self, widget: Any) -> None:
        self._widget = widget

    def __enter__(self) -> None:
        self._before = self._widget.blockSignals(True)

    def __exit__(self, *error: object) -> None:
        self._widget.blockSignals(self._before)


def _ears() -> dict[str, str]:
    return {
        "auto": _("Automatic: every ear that is found"),
        "right": _("Right"),
        "left": _("Left"),
        "both": _("Both"),
    }


def _presets() -> dict[str, str]:
    return {
        "standard": _("Standard"),
        "fast": _("Fast: a quick look"),
        "paper": _("Paper: as in Stebani et al. 2023"),
    }


def _grids() -> dict[str, str]:
    return {"fine": _("fine, for a smooth surface"), "scan": _("the scan’s own voxels")}
