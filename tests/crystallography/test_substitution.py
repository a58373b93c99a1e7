"""Children keep the parent's structure with other elements of the same columns, scaled, labelled, never twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sgexp.crystallography.crystal import SYMPRECS, group_number
from sgexp.crystallography.elements import ELEMENTS
from sgexp.crystallography.families import same_structure, same_type
from sgexp.crystallography.library import load_library
from sgexp.crystallography.substitution import (
    SQUEEZED,
    Materials,
    apply_mapping,
    children,
    contacts,
    has_room,
    mappings,
    replacements,
    scale_of,
    species,
)


@pytest.fixture(scope="module")
def library():
    return {crystal.name: crystal for crystal in load_library()}


def substitute(crystal, count, seed=0):
    """Return up to ``count`` children of a crystal, none of them a copy of it or of another."""
    materials = Materials()
    materials.add(crystal)
    for child in children(crystal, seed):
        materials.add(child)
        if len(materials.crystals) > count:
            break
    return materials.crystals[1:]


def test_replacements_share_the_column_and_new_ones_are_stable():
    assert [ELEMENTS[z].symbol for z in replacements(38)] == ["Be", "Mg", "Ca", "Sr", "Ba"]
    assert replacements(1) == (1,)
    assert 92 in replacements(92), "a radioactive element of the parent may stay"
    for z in ELEMENTS:
        others = [ELEMENTS[other] for other in replacements(z) if other != z]
        assert all(other.column == ELEMENTS[z].column and not other.radioactive for other in others)


def test_children_are_of_the_parents_type_and_labelled_by_spglib(library):
    for name in ("AB_cF8_225_a_b", "A2B_hP9_152_c_a", "AB3_cF16_225_a_bc", "A2BC4_cF56_227_d_a_e"):
        parent = library[name]
        found = substitute(parent, 5, seed=3)
        assert len(found) == 5
        for child in found:
            assert (child.parent, child.family) == (parent.name, parent.family)
            assert child.space_groups == tuple(group_number(child, symprec) for symprec in SYMPRECS)
            assert child.space_group == parent.space_group
            assert same_type(parent, child)
            assert {ELEMENTS[z].column for z in child.numbers} == {ELEMENTS[z].column for z in parent.numbers}
            np.testing.assert_array_equal(child.positions, parent.positions)
        assert len({child.name for child in found} | {parent.name}) == 6
        assert len({child.formula for child in found} | {parent.formula}) == 6


def test_groups_taken_from_the_parent_are_those_that_spglib_finds_for_the_child(library):
    """Parents whose group rises with the tolerance above all: there a scaled cell may have another group."""
    rising = [parent for parent in library.values() if len({*parent.space_groups, *parent.groups_around}) > 1]
    known = asked = changed = 0
    for parent in [*rising[::2], *list(library.values())[::30]]:
        for new in itertools.islice(mappings(parent, np.random.default_rng(0)), 3):
            child = apply_mapping(parent, new)
            assert child.space_groups == tuple(group_number(child, symprec) for symprec in SYMPRECS), child.name
            changed += child.space_groups != parent.space_groups
            if parent.groups_if_scaled(scale_of(parent, new)) is None:
                asked += 1
            else:
                known += 1
    assert known > 300 and asked > 10 and changed > 3


def test_spglib_is_asked_where_two_elements_become_one(library):
    """A list of recipes from elsewhere may ask for it: rock salt of one element is simple cubic."""
    parent = library["AB_cF8_225_a_b"]
    assert parent.groups_if_scaled(1.0) == (225, 225, 225)
    assert apply_mapping(parent, (11, 11)).space_group == 221


def test_nothing_is_known_of_a_crystal_that_was_labelled_alone(library):
    parent = library["AB_cF8_225_a_b"].relabelled()
    assert parent.groups_around == () and parent.groups_if_scaled(1.1) is None
    assert apply_mapping(parent, (19, 17)).space_groups == (225, 225, 225)


def test_bigger_atoms_make_a_bigger_cell_in_proportion_to_their_mean_radius(library):
    parent = library["AB_cF8_225_a_b"]
    for child in substitute(parent, 10, seed=0):
        radius = [np.mean([ELEMENTS[z].covalent_radius for z in crystal.numbers]) for crystal in (child, parent)]
        assert child.abc[0] / parent.abc[0] == pytest.approx(radius[0] / radius[1])


def test_the_seed_decides_and_every_mapping_comes_once(library):
    parent = library["AB_cF8_225_a_b"]
    first, again, other = (list(mappings(parent, np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert first == again != other
    assert sorted(first) == sorted(set(other))
    assert len(first) == len(replacements(11)) * len(replacements(17)) - 1
    assert [c.name for c in substitute(parent, 4, 1)] == [c.name for c in substitute(parent, 4, 1)]


def test_two_elements_never_become_one(library):
    for parent in list(library.values())[::50]:
        for child in substitute(parent, 2):
            assert len(np.unique(child.numbers)) == len(np.unique(parent.numbers))


def test_a_copy_is_not_added_twice(library):
    materials = Materials()
    quartz, strained = library["A2B_hP9_152_c_a"], library["triclinic-001"]
    assert materials.add(quartz)
    assert same_structure(quartz, strained)
    assert not materials.add(strained)
    assert [crystal.name for crystal in materials.crystals] == [quartz.name]


def shortest_ratio(crystal):
    """Shortest contact over the sum of its covalent radii, by brute force over the 27 neighbouring cells."""
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), axis=-1).reshape(-1, 3)
    difference = crystal.positions[:, None, None] - crystal.positions[None, :, None] + shifts
    distance = np.linalg.norm(difference @ crystal.cell, axis=-1).min(axis=-1)
    radius = np.array([ELEMENTS[int(z)].covalent_radius for z in crystal.numbers])
    ratio = distance / (radius[:, None] + radius[None])
    return ratio[~np.eye(len(crystal), dtype=bool)].min(initial=np.inf)


def test_children_are_not_squeezed_more_than_their_parents(library):
    small = [crystal for crystal in library.values() if 2 <= len(crystal) <= 40]
    for parent in small[::20]:
        for child in substitute(parent, 3):
            assert shortest_ratio(child) >= min(SQUEEZED, shortest_ratio(parent)) - 1e-9, child.name


def test_a_mapping_that_squeezes_is_found_out(library):
    """In a hydrous carbonate the mean radius hardly grows when Pb takes the place of C, with O around it."""
    carbonate = next(c for c in library.values() if set(species(c)) == {1, 6, 8, 11})
    lead = tuple(82 if z == 6 else z for z in species(carbonate))
    assert not has_room(carbonate, lead, contacts(carbonate))
    assert has_room(carbonate, species(carbonate), contacts(carbonate))
