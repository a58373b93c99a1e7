"""The table of the 230 groups is what its sources say, and its derived arrays obey crystallography."""

from __future__ import annotations

from functools import cache

import gemmi
import numpy as np
import pytest
import spglib

from sgexp.crystallography.groups import (
    CRYSTAL_SYSTEMS,
    LAUE_CLASSES,
    POINT_GROUPS,
    SPACE_GROUPS,
    crystal_system_of,
    enantiomorph_of,
    laue_class_of,
    merged_219,
    point_group_of,
    space_group,
)
from sgexp.errors import DataError


def test_there_are_7_systems_11_laue_classes_32_point_groups_and_14_bravais_lattices():
    assert [group.number for group in SPACE_GROUPS] == list(range(1, 231))
    assert (len(CRYSTAL_SYSTEMS), len(LAUE_CLASSES), len(POINT_GROUPS)) == (7, 11, 32)
    assert len({group.bravais for group in SPACE_GROUPS}) == 14


def test_arrays_are_indexed_by_the_group_number():
    assert CRYSTAL_SYSTEMS[crystal_system_of[225]] == "cubic"
    assert LAUE_CLASSES[laue_class_of[62]] == "mmm"
    assert POINT_GROUPS[point_group_of[14]] == "2/m"
    assert space_group(225).symbol == "Fm-3m"
    for table in (crystal_system_of, laue_class_of, point_group_of, merged_219, enantiomorph_of):
        assert table.shape == (231,)
        assert table[0] == -1
        assert table[1:].min() >= 0


def test_eleven_enantiomorphic_pairs_leave_219_merged_classes():
    pairs = {(g.number, g.enantiomorph) for g in SPACE_GROUPS if g.enantiomorph}
    assert len(pairs) == 22
    assert all((partner, number) in pairs for number, partner in pairs)
    assert len(np.unique(merged_219[1:])) == 219
    assert merged_219[154] == merged_219[152] == 152
    for number, partner in pairs:
        assert gemmi.find_spacegroup_by_number(number).is_enantiomorphic()
        assert space_group(number).point_group == space_group(partner).point_group


@pytest.mark.parametrize("number", [0, 231, -3])
def test_a_number_outside_the_table_is_refused(number):
    with pytest.raises(DataError, match=f"no space group {number}"):
        space_group(number)


def test_symbols_agree_with_spglib_and_classes_with_gemmi():
    for group in SPACE_GROUPS:
        kind = spglib.get_spacegroup_type(group.hall_number)
        assert (kind.number, kind.international_short) == (group.number, group.symbol)
        assert kind.hall_symbol == group.hall
        by_number = gemmi.find_spacegroup_by_number(group.number)
        assert by_number.point_group_hm() == group.point_group
        assert by_number.laue_str() == group.laue_class
        assert by_number.crystal_system_str() == group.crystal_system
        assert gemmi.symops_from_hall(group.hall).find_centering() == by_number.operations().find_centering()


@cache
def _maximal_subsets(rotations: tuple[bytes, ...], dtype: str) -> list[frozenset[bytes]]:
    """Maximal proper subgroups of a point group by brute force; each rotation is the bytes of its matrix."""
    matrices = [np.frombuffer(rotation, dtype=dtype).reshape(3, 3) for rotation in rotations]
    index = {rotation: i for i, rotation in enumerate(rotations)}
    product = np.array([[index[(a @ b).tobytes()] for b in matrices] for a in matrices])

    def closure(elements):
        closed = np.unique(list(elements))
        while len(larger := np.union1d(closed, product[np.ix_(closed, closed)])) > len(closed):
            closed = larger
        return frozenset(closed.tolist())

    whole = frozenset(range(len(matrices)))
    found, fresh = set(), {closure({i}) for i in whole}
    while fresh:
        found |= fresh
        fresh = {closure(group | {i}) for group in fresh for i in whole - group} - found
    maximal = [g for g in found if g < whole and not any(g < other < whole for other in found)]
    return [frozenset(rotations[i] for i in group) for group in maximal]


def _translationengleiche(group):
    """Types of all maximal subgroups with the same translations."""
    operations = spglib.get_symmetry_from_database(group.hall_number)
    rotations, translations = operations["rotations"], operations["translations"]
    keys = [rotation.tobytes() for rotation in rotations]
    types = set()
    for subset in _maximal_subsets(tuple(sorted(set(keys))), rotations.dtype.str):
        keep = np.array([key in subset for key in keys])
        types.add(spglib.get_spacegroup_type_from_symmetry(rotations[keep], translations[keep]).number)
    return types


def test_maximal_subgroups_contain_every_translationengleiche_one_that_the_operations_have():
    for group in SPACE_GROUPS:
        assert _translationengleiche(group) <= set(group.maximal_subgroups), group.number


def test_other_maximal_subgroups_keep_the_point_group():
    """Hermann's theorem: a maximal subgroup keeps all translations or the whole point group."""
    for group in SPACE_GROUPS:
        others = set(group.maximal_subgroups) - _translationengleiche(group)
        assert all(space_group(number).point_group == group.point_group for number in others), group.number
        assert group.number not in group.maximal_subgroups
