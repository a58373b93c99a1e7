"""Families join what is one structure type, whatever elements, size, origin, axes and hand, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.families import (
    _classes,
    assign_families,
    duplicates,
    family_key,
    same_structure,
    same_type,
)
from sgexp.crystallography.groups import merged_219, space_group
from sgexp.crystallography.library import MIRROR, load_library, symmetry_margins
from sgexp.crystallography.library.build import missing_hands, text


@pytest.fixture(scope="module")
def library():
    return {crystal.name: crystal for crystal in load_library()}


def moved(crystal: Crystal, name: str) -> Crystal:
    """The same crystal with another origin, other axes (a doubled, sheared cell's primitive ones) and size."""
    change = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    places = (crystal.positions + np.array([0.11, 0.23, 0.37])) @ np.linalg.inv(change)
    return Crystal.from_arrays(1.07 * change @ crystal.cell, crystal.numbers, places, name=name)


def mirrored(crystal: Crystal, name: str) -> Crystal:
    return Crystal.from_arrays(crystal.cell * [1, 1, -1], crystal.numbers, crystal.positions, name=name)


def test_origin_axes_size_and_elements_do_not_matter(library):
    small = [crystal for crystal in library.values() if len(crystal) <= 30]
    for crystal in small[:: len(small) // 40]:
        other = moved(crystal, "moved")
        renamed = replace(other, numbers=(other.numbers + 1) % 90 + 1)
        assert family_key(crystal) == family_key(renamed), crystal.name
        assert same_type(crystal, renamed), crystal.name


def test_the_mirror_image_is_of_the_same_family_and_carries_the_partner_group(library):
    handed = [c for c in library.values() if space_group(c.space_group).enantiomorph and len(c) <= 40]
    assert len(handed) >= 10
    for crystal in handed:
        image = mirrored(crystal, "image")
        assert image.space_group == space_group(crystal.space_group).enantiomorph
        assert len({c.family for c in assign_families([crystal, image])}) == 1, crystal.name


def test_known_structure_types_are_joined_and_told_apart(library):
    by_family = {}
    for crystal in library.values():
        by_family.setdefault(crystal.family, []).append(crystal.name)
    assert library["A2B_hP9_152_c_a"].family == library["triclinic-001"].family, "quartz and a strained quartz"
    assert library["AB_cF8_225_a_b"].family != library["AB_cF8_216_c_a"].family, "rocksalt and zincblende"
    assert library["A2BC2_hP5_164_d_a_d"].family != library["A2B2C_hP5_164_d_d_a"].family, "brucite and Ce2SO2"
    first = {crystal.family for crystal in load_library(edition=1)}
    assert 1200 < len(first) < 1300
    assert len(by_family) > 2500 and first <= by_family.keys()
    for names in by_family.values():
        assert len({int(merged_219[library[name].space_group]) for name in names}) == 1


@pytest.mark.slow
def test_the_stored_families_and_labels_are_what_matching_gives(library):
    """Of every fifth group with its enantiomorph: all of them take minutes."""
    chosen = [c for c in library.values() if merged_219[c.space_group] % 5 == 0 and not c.name.endswith(MIRROR)]
    fresh = assign_families([replace(c, family="").relabelled() for c in chosen])
    assert len(fresh) > 500
    for stored, found in zip(chosen, fresh, strict=True):
        assert (stored.family, stored.space_groups) == (found.family, found.space_groups), (
            "run python -m sgexp.crystallography.library.build"
        )


def test_labels_are_written_one_crystal_a_line(library):
    from importlib.resources import files

    margins = symmetry_margins()
    stored = files("sgexp.crystallography.library").joinpath("labels.json").read_text(encoding="utf-8")
    assert text(list(library.values()), [margins[name] for name in library]) == stored


def test_hands_are_made_for_groups_that_have_few_families_and_not_twice(library):
    """Of a family that stands in both groups of a pair there is no image."""
    images = missing_hands([c for c in library.values() if not c.name.endswith(MIRROR)])
    assert [c.name for c in images] == [name for name in library if name.endswith(MIRROR)]


def test_a_crystal_is_compared_with_one_of_each_class_only():
    compared = []

    def same(one, other):
        compared.append((one, other))
        return one[0] == other[0]

    names = [f"{kind}{n}" for n in range(20) for kind in "ab"]
    assert _classes(names, same) == [0, 1] * 20
    assert {one for one, _ in compared} == {"a0", "b0"}


def test_duplicates_are_found_by_structure_and_not_by_formula(library):
    salt = library["AB_cF8_225_a_b"]
    again = moved(salt, "again")
    other_phase = replace(library["AB_cP2_221_b_a"], numbers=np.array([19, 17]), name="other")
    assert same_structure(salt, again)
    assert duplicates([salt, again, other_phase]) == {"again": salt.name}
