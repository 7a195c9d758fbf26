"""Labelled scans that weights have seen, as a model's card keeps them: by name, and by what they show."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from InnerEarAILib.volume import Volume


def scan_sha256(scan: Volume) -> str:
    """SHA-256 of a scan's voxels: the same after a copy, under another name, compressed, or with another header."""
    digest = hashlib.sha256(str(scan.voxels.shape).encode())
    for plane in scan.voxels:
        # One number format, since formats of files differ in theirs.
        digest.update(np.ascontiguousarray(plane, dtype="<f4"))
    return digest.hexdigest()


@dataclass(frozen=True)
class ScanList:
    """Labelled scans.

    Attributes:
        cases: names by name of the data set.
        sha256: scan_sha256 of each.
    """

    cases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sha256: frozenset[str] = frozenset()

    def __or__(self, other: ScanList) -> ScanList:
        """The scans of both."""
        cases = {
            name: tuple(sorted({*self.cases.get(name, ()), *other.cases.get(name, ())}))
            for name in (*self.cases, *other.cases)
        }
        return ScanList(cases, self.sha256 | other.sha256)

    def shared(self, other: ScanList) -> int:
        """How many scans stand in both lists."""
        names = sum(len(set(own) & set(other.cases.get(name, ()))) for name, own in self.cases.items())
        return max(names, len(self.sha256 & other.sha256))


@dataclass(frozen=True)
class SeenScans:
    """What weights have seen.

    Attributes:
        taught: scans that they were trained on.
        validated: scans by which the best of them were chosen.
    """

    taught: ScanList = ScanList()
    validated: ScanList = ScanList()

    def __or__(self, other: SeenScans) -> SeenScans:
        """What both have seen: weights that began with others have seen what those had."""
        return SeenScans(self.taught | other.taught, self.validated | other.validated)

    @staticmethod
    def of_figures(figures: Mapping[str, Any]) -> SeenScans:
        """What a card's figures say."""

        def scans(use: str) -> ScanList:
            cases = {name: tuple(names) for name, names in figures.get(f"{use}_cases", {}).items()}
            return ScanList(cases, frozenset(figures.get(f"{use}_scans", ())))

        return SeenScans(scans("trained_on"), scans("validated_on"))

    def figures(self) -> dict[str, Any]:
        """The entries of a card's figures, JSON-able; none where nothing was seen."""
        entries: dict[str, Any] = {}
        for use, scans in (("trained_on", self.taught), ("validated_on", self.validated)):
            entries[f"{use}_cases"] = {name: list(names) for name, names in scans.cases.items()}
            entries[f"{use}_scans"] = sorted(scans.sha256)
        return {name: value for name, value in entries.items() if value}
