"""Our patterns against abTEM's: same atoms, same form factors, same slices; abTEM on a grid that is converged for it.

abTEM spreads each atom over four pixels, so its own grid must be fine (with a whole number of pixels a cell): between
0.05 and 0.02 Å a pixel its patterns still change by up to 2 % (GaAs), from 0.03 Å on by half a percent.
"""

import numpy as np
import pytest

from sgexp.simulation.physics import wavelength

from .abtem_reference import (
    CRYSTALS,
    SEMI_ANGLE,
    abtem_pattern,
    common,
    log_coded,
    our_pattern,
    quartz_001,
    r1,
    r1_without_direct_disk,
    repeated,
    supercell,
)

OURS, ABTEM, Q_MAX = 0.05, 0.03, 2.0  # Å a pixel, Å a pixel, 1/Å


@pytest.mark.parametrize("name", CRYSTALS)
def test_patterns_agree_with_abtem(name):
    cell = supercell(name)
    ours, reference, q = common(our_pattern(cell, OURS), abtem_pattern(cell, ABTEM), cell, Q_MAX)
    assert r1_without_direct_disk(ours, reference, q) <= 0.02
    assert r1(log_coded(ours), log_coded(reference)) <= 0.02


def hand_difference(pattern, sampling, slices):
    """R1 between the patterns of right and left quartz; the mirror leaves the projection along c as it is."""
    right, left = (repeated(quartz_001(hand), (2, 1, 9), slices) for hand in (False, True))
    return r1_without_direct_disk(*common(pattern(right, sampling), pattern(left, sampling), right, Q_MAX))


def test_the_hands_of_quartz_differ_as_they_do_in_abtem():
    ours, reference = hand_difference(our_pattern, OURS, 6), hand_difference(abtem_pattern, ABTEM, 6)
    assert reference > 0.01  # there is something to see
    assert ours == pytest.approx(reference, rel=0.1)


def test_one_slice_a_repeat_loses_the_hand_of_quartz():
    assert hand_difference(our_pattern, 0.1, 1) < 1e-3


def test_the_direct_disk_is_where_the_aperture_is():
    cell = supercell("Mg [001]")
    pattern, _, q = common(*[our_pattern(cell, 0.1)] * 2, cell, Q_MAX)
    assert pattern[q < SEMI_ANGLE / wavelength(100.0)].sum() > 0.5
    assert np.isclose(pattern.sum(), 1.0, atol=0.02)
