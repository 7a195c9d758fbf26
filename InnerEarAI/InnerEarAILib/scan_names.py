"""What the results of each of several scans are called, so that none is taken for another's."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from InnerEarAILib.scan_files import scan_suffix


def named(scans: Iterable[Path]) -> list[tuple[Path, str]]:
    """Each scan once, in the order given, with the name of its results.

    The name is the scan's stem; where stems are the same, with as many of the folders above before it as tell them
    apart ("P01_CT_SE0001"), and with the suffix where one folder holds several. Names depend on which scans there are,
    not on their order, and differ also where capitals do not count.

    Args:
        scans: files and DICOM folders; a link keeps its own name, since what it leads to may be called by a checksum
            (git-annex, DVC, download caches).

    Returns:
        Absolute paths and names.
    """
    paths = [Path(path) for path in dict.fromkeys(map(os.path.abspath, scans))]
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        groups[stem_of(path).casefold()].append(path)
    depths = {stem: _telling_depth(group) for stem, group in groups.items()}
    names = _names(groups, depths)
    while longer := _clashing(groups, names, depths):
        depths |= {stem: depths[stem] + 1 for stem in longer}
        names = _names(groups, depths)
    names = _numbered(names)
    return [(path, names[path]) for path in paths]


def stem_of(scan: Path) -> str:
    """A scan's name without its suffix."""
    return scan.name[: len(scan.name) - len(scan_suffix(scan))]


def _telling_depth(group: list[Path]) -> int:
    """How many folders above scans of one stem tell the places apart; the fewest that tell most of them apart."""
    folders = {path.parent for path in group}
    depths = range(max(len(folder.parts) for folder in folders))
    return max(depths, key=lambda depth: (len({_before(folder, depth).casefold() for folder in folders}), -depth))


def _before(folder: Path, depth: int) -> str:
    """The last folders of a path, without its root."""
    parts = folder.parts[1:]
    return "".join(f"{part}_" for part in parts[max(0, len(parts) - depth) :])


def _names(groups: Mapping[str, list[Path]], depths: Mapping[str, int]) -> dict[Path, str]:
    names = {}
    for stem, group in groups.items():
        beside = Counter(path.parent for path in group)
        for path in group:
            suffix = scan_suffix(path).replace(".", "_") if beside[path.parent] > 1 else ""
            names[path] = f"{_before(path.parent, depths[stem])}{stem_of(path)}{suffix}"
    return names


def _clashing(groups: Mapping[str, list[Path]], names: Mapping[Path, str], depths: Mapping[str, int]) -> list[str]:
    """Stems of which a lengthened name is another's, too, and can be longer yet."""
    count = Counter(name.casefold() for name in names.values())
    return [
        stem
        for stem, group in groups.items()
        if any(count[names[path].casefold()] > 1 and names[path] != stem_of(path) for path in group)
        and depths[stem] < max(len(path.parent.parts) - 1 for path in group)
    ]


def _numbered(names: Mapping[Path, str]) -> dict[Path, str]:
    """With a number behind names that differ in capitals alone, or not at all; the first path keeps its own."""
    taken = {name.casefold() for name in names.values()}
    given: set[str] = set()
    numbered = {}
    for path, wanted in sorted(names.items(), key=lambda item: (item[1] != stem_of(item[0]), str(item[0]))):
        name, number = wanted, 2
        while name.casefold() in given or (name != wanted and name.casefold() in taken):
            name = f"{wanted}_{number}"
            number += 1
        given.add(name.casefold())
        numbered[path] = name
    return numbered
