"""Summed probabilities add up, nest, and are those of the groups that gemmi puts together."""

import gemmi
import numpy as np

from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, LAUE_CLASSES, POINT_GROUPS, space_group
from sgexp.evaluation.levels import LEVELS, level_probabilities

ALL = np.arange(1, 231)


def random_probabilities(n, classes, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(len(classes), 0.1), size=n)


def test_each_level_adds_up_to_one_for_any_set_of_classes():
    for classes in (ALL, ALL[::7], np.array([1])):
        for sums in level_probabilities(random_probabilities(20, classes), classes).values():
            np.testing.assert_allclose(sums.sum(1), 1.0, rtol=1e-12)


def test_levels_nest():
    sums = level_probabilities(random_probabilities(50, ALL), ALL)
    inside = {
        "laue_class": {
            point: {g.laue_class for g in map(space_group, ALL) if g.point_group == point} for point in POINT_GROUPS
        },
        "crystal_system": {
            laue: {g.crystal_system for g in map(space_group, ALL) if g.laue_class == laue} for laue in LAUE_CLASSES
        },
    }
    for fine, coarse in (("point_group", "laue_class"), ("laue_class", "crystal_system")):
        for index, name in enumerate(LEVELS[coarse].names):
            members = [LEVELS[fine].names.index(own) for own, over in inside[coarse].items() if over == {name}]
            np.testing.assert_allclose(sums[coarse][:, index], sums[fine][:, members].sum(1), atol=1e-12)


def test_each_group_counts_where_gemmi_puts_it():
    sums = level_probabilities(np.eye(230), ALL)
    for number in ALL.tolist():
        peer = gemmi.find_spacegroup_by_number(number)
        assert CRYSTAL_SYSTEMS[sums["crystal_system"][number - 1].argmax()] == peer.crystal_system_str()
        assert POINT_GROUPS[sums["point_group"][number - 1].argmax()] == peer.point_group_hm()
        assert LAUE_CLASSES[sums["laue_class"][number - 1].argmax()] == peer.laue_str()
