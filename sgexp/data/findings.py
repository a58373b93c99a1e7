"""What is wrong with a data set: unreadable samples, copies, one material on two sides; some of it counts as faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sgexp.crystallography.lattice import FAULTS, cell_faults
from sgexp.data.audit import overlap
from sgexp.data.catalog import BadSample, Catalog
from sgexp.data.contents import Contents
from sgexp.data.split import PARTS, TEST_MATERIAL, TRAIN, UNUSED, VALIDATION, Split

RELEASED = ("train", "dev", "test")
EXAMPLES = 1000  # of each finding that are listed


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found, ``count`` of it, with ``examples`` in words.

    ``counts``: whether it makes the data set not clean; otherwise it is to be known.
    """

    kind: str
    count: int
    says: str
    counts: bool
    examples: tuple[str, ...] = ()


def unreadable(bad: Sequence[BadSample], contents: Contents, catalog: Catalog) -> list[Finding]:
    """Return the samples and files that are set aside, by header and by pixels, and those with odd pixels."""
    found = []
    if bad:
        words = tuple(str(sample) for sample in bad)
        says = "samples or files cannot be read, or contradict the other samples of their material"
        found.append(Finding("unreadable", len(bad), says, True, words[:EXAMPLES]))
    for column, kind, says in (
        (contents.fault, "unusable patterns", "samples have patterns that cannot be trained on"),
        (contents.oddity, "odd patterns", "samples have patterns that no detector counts, though they can be used"),
    ):
        rows = np.flatnonzero(column != "")
        if len(rows):
            words = tuple(f"{_place(catalog, row)} {column[row]}" for row in rows[:EXAMPLES].tolist())
            found.append(Finding(kind, len(rows), says, True, words))
    return found


def copies(catalog: Catalog, contents: Contents, split: Split) -> list[Finding]:
    """Return samples of equal pixels: of several groups, of several materials, and of one material.

    ``split``: parts of the same rows; copies between training and a judged part are named as such.
    """
    kinds: dict[str, list[str]] = {"contradicting copies": [], "copies": [], "repeated samples": []}
    crossing = 0
    for rows in _equal(contents.digest):
        materials, groups = np.unique(catalog.material[rows]), np.unique(catalog.space_group[rows])
        kind = "repeated samples" if len(materials) == 1 else "copies"
        kind = "contradicting copies" if len(groups) > 1 else kind
        crosses = _crosses(split, rows)
        crossing += crosses
        where = ", ".join(_place(catalog, row) for row in rows[:4].tolist())
        more = f" and {len(rows) - 4} more" if len(rows) > 4 else ""
        sides = ", in training and in a judged part" if crosses else ""
        names = f"{_few(materials)}, group {_few(groups)}{sides}"
        kinds[kind].append(f"{where}{more}: {names}")
    says = {
        "contradicting copies": "sets of equal patterns have different space groups",
        "copies": "sets of equal patterns are of materials of different names",
        "repeated samples": "sets of equal patterns are of one material (at several energies, or stored twice)",
    }
    found = [Finding(kind, len(sets), says[kind], True, tuple(sets[:EXAMPLES])) for kind, sets in kinds.items() if sets]
    if crossing:
        words = "sets of equal patterns lie in training and in a judged part of the split"
        found.append(Finding("copies across the split", crossing, words, True))
    return found


def same_cells(catalog: Catalog, contents: Contents, split: Split) -> list[Finding]:
    """Return materials of different names that headers do not tell apart: one group, formula and cell to 3 digits."""
    apart: list[str] = []
    crossing: list[str] = []
    for rows in _equal(contents.cell):
        materials = np.unique(catalog.material[rows])
        if len(materials) > 1:
            told = f"{_few(materials, 6)}: {catalog.formula[rows[0]]}, group {catalog.space_group[rows[0]]}"
            (crossing if _crosses(split, rows) else apart).append(told)
    found = []
    says = "sets of materials have different names, but one formula, group and cell to three digits"
    if crossing:
        words = f"{says}, and lie in training and in a judged part of the split"
        found.append(Finding("names for one material across the split", len(crossing), words, True, tuple(crossing)))
    if apart:
        found.append(Finding("names for one material", len(apart), says, False, tuple(apart[:EXAMPLES])))
    return found


def unusable_cells(catalog: Catalog) -> list[Finding]:
    """Return the samples whose cell cannot be learned: none given, one of no volume, or of another system."""
    fault_N = cell_faults(catalog.cell, catalog.space_group)
    rows = np.flatnonzero(fault_N)
    if not len(rows):
        return []
    kinds = np.bincount(fault_N, minlength=len(FAULTS))[1:].tolist()
    each = ", ".join(f"{count:,} {fault}" for count, fault in zip(kinds, FAULTS[1:], strict=True) if count)
    words = tuple(
        f"{_place(catalog, row)} group {catalog.space_group[row]}: {', '.join(f'{x:.4g}' for x in catalog.cell[row])}"
        for row in rows[:EXAMPLES].tolist()
    )
    says = f"samples have a cell that auxiliary=cell cannot use ({each})"
    return [Finding("unusable cells", len(rows), says, False, words)]


def released_overlap(catalog: Catalog) -> list[Finding]:
    """Return the materials (which count) and families (which do not) shared by the released train, dev and test files.

    Nothing is dropped here, unlike by ``split=released``.
    """
    part = np.full(len(catalog), UNUSED, dtype=np.int8)
    for index, name in zip((TRAIN, VALIDATION, TEST_MATERIAL), RELEASED, strict=True):
        part[catalog.released == name] = index
    if (part == UNUSED).all():
        return []
    found = overlap(catalog, Split(part, "released"))
    named = {
        "train/validation": "train/dev",
        "train/test_material": "train/test",
        "validation/test_material": "dev/test",
    }
    proxy = " (a proxy)" if catalog.family_is_proxy else ""
    findings = []
    for counts, shared, noun in ((True, found.materials, "materials"), (False, found.families, f"families{proxy}")):
        pairs = {named[pair]: count for pair, count in shared.items() if count and pair in named}
        if pairs:
            told = ", ".join(f"{count:,} in {pair}" for pair, count in pairs.items())
            says = f"{noun} shared by released parts: {told}"
            findings.append(Finding(f"released {noun.split()[0]} overlap", sum(pairs.values()), says, counts))
    untrained = found.untrained_groups
    if untrained:
        says = "space groups are in released dev or test files and in no train file"
        findings.append(Finding("released groups without training", len(untrained), says, False))
    return findings


def split_overlap(catalog: Catalog, split: Split) -> list[Finding]:
    """Return what breaks the rules of a split (declared leaky or not), and which families it shares by design."""
    found = overlap(catalog, split)
    findings = [Finding(f"leak of split={split.name}", 1, fault, True) for fault in found.faults]
    by_design = {
        pair: count for pair, count in found.families.items() if count and "test_family" not in pair.split("/")
    }
    if by_design and not found.faults:
        told = ", ".join(f"{count:,} in {pair}" for pair, count in by_design.items())
        says = f"families shared by parts of split={split.name}, by design: {told}"
        findings.append(Finding("shared families", sum(by_design.values()), says, False))
    return findings


def part_counts(catalog: Catalog, parts: Iterable[tuple[str, NDArray[np.int64]]]) -> dict[str, dict[str, list[int]]]:
    """Return part -> noun -> count a space group (length 231) of samples, materials and families in those rows.

    Under "total" the numbers of samples, materials, families and groups: a family may hold two groups, so that they
    are not sums.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for name, rows in parts:
        groups = catalog.space_group[rows].astype(np.int64)
        columns = (catalog.material[rows], catalog.family[rows], groups)
        total = [len(rows), *(len(np.unique(column)) for column in columns)]
        found[name] = {"samples": np.bincount(groups, minlength=231).tolist(), "total": total}
        for noun, column in (("materials", catalog.material), ("families", catalog.family)):
            _, ids = np.unique(column[rows], return_inverse=True)
            pairs = np.unique(ids.reshape(-1).astype(np.int64) * 231 + groups)
            found[name][noun] = np.bincount(pairs % 231, minlength=231).tolist()
    return found


def split_rows(split: Split) -> list[tuple[str, NDArray[np.int64]]]:
    """Return (part, rows) of a split's parts that hold anything, the unused rows last."""
    parts = [(name, split.rows(name)) for name in PARTS]
    parts.append(("unused", np.flatnonzero(split.part == UNUSED)))
    return [(name, rows) for name, rows in parts if len(rows)]


def released_rows(catalog: Catalog) -> list[tuple[str, NDArray[np.int64]]]:
    """Return (released part, rows), none where the file names say nothing."""
    parts = [(name, np.flatnonzero(catalog.released == name)) for name in RELEASED]
    return [(name, rows) for name, rows in parts if len(rows)]


def reasons(findings: Sequence[Finding]) -> dict[str, int]:
    """Return why samples cannot be read: reason -> how many examples, numbers in it left out, most frequent first."""
    words: Counter[str] = Counter()
    for finding in findings:
        if finding.kind in ("unreadable", "unusable patterns", "odd patterns"):
            for example in finding.examples:
                reason = example.split(" ", 1)[1] if " " in example else example
                words["".join("#" if letter.isdigit() else letter for letter in reason)[:100]] += 1
    return dict(words.most_common())


def _equal(names: NDArray[np.str_]) -> list[NDArray[np.int64]]:
    """Return the rows of each name that occurs more than once ("" is no name), in order of the first row."""
    known = np.flatnonzero(names != "")
    order = known[np.argsort(names[known], kind="stable")]
    runs = np.split(order, np.flatnonzero(names[order][1:] != names[order][:-1]) + 1)
    return sorted((run for run in runs if len(run) > 1), key=lambda run: int(run[0]))


def _crosses(split: Split, rows: NDArray[np.int64]) -> bool:
    part = split.part[rows]
    return bool((part == TRAIN).any() and (part > TRAIN).any())


def _place(catalog: Catalog, row: int) -> str:
    return f"{catalog.path[row]}:{catalog.key[row]}"


def _few(values: NDArray, most: int = 4) -> str:
    shown = ", ".join(str(value) for value in values[:most].tolist())
    return f"{shown} and {len(values) - most} more" if len(values) > most else shown
