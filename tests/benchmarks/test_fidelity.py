"""The measures of the gate (benchmarks/fidelity.py) against closed forms."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from sgexp.crystallography.crystal import Crystal
from sgexp.simulation.physics import wavelength
from sgexp.simulation.protocol import Zone


@pytest.fixture
def fidelity(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    return importlib.import_module("fidelity")


def test_a_disk_is_what_is_nearest_to_its_reflection_and_within_the_aperture(fidelity):
    """Simple cubic along [001]: reflections on a square lattice of 1 / a; overlapping disks are parted."""
    a, steps = 4.0, np.arange(-30, 31) / 41.0  # no pixel lies halfway
    crystal = Crystal.from_arrays(np.eye(3) * a, ["Po"], np.zeros((1, 3)), name="cubic")
    for share in (0.3, 0.7):  # of the distance of reflections; from 0.5 disks overlap
        zone = Zone((0, 0, 1), np.array([0.0, 1.0, 0.0]), a, share / a * wavelength(fidelity.KEV), np.eye(3))
        found = fidelity.disks(crystal, zone, steps)
        nearest = np.round(steps * a + 1e-9)
        away = np.hypot((steps * a - nearest)[:, None], (steps * a - nearest)[None])
        direct = (nearest == 0)[:, None] & (nearest == 0)[None]
        assert np.array_equal(found > 0, (away < share) & ~direct)
        keys = 100 * nearest[:, None] + nearest[None]
        for number in np.unique(found[found > 0]):
            assert len(np.unique(keys[found == number])) == 1
        assert len(np.unique(found[found > 0])) == len(np.unique(keys[found > 0]))


def test_the_contrast_free_of_noise_is_the_share_that_is_kept_and_knows_its_error(fidelity):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=500)
    made = [fidelity.free_of_noise(0.8 * truth, truth + 2.0 * rng.normal(size=(16, 500))) for _ in range(100)]
    shares, errors = np.array(made).T
    assert shares.mean() == pytest.approx(0.8, abs=0.02)
    assert np.median(errors) == pytest.approx(shares.std(), rel=0.5)
    noise = fidelity.free_of_noise(0.8 * truth, 30.0 * rng.normal(size=(16, 500)))
    assert np.isnan(noise).all()
