"""What the tests of the laws of diffraction share: zones, and intensities of beams for plane waves."""

import numpy as np

from sgexp.simulation.protocol import Zone
from sgexp.simulation.tilt import amplitudes

KEV = 100.0


def along(uvw, crystal):
    """A zone with x along a where it can be, and z along [uvw]."""
    z = np.array(uvw) @ crystal.cell
    z = z / np.linalg.norm(z)
    x = crystal.cell[0] - (crystal.cell[0] @ z) * z
    x /= np.linalg.norm(x)
    return Zone(tuple(uvw), np.array([0.0, 1.0, 0.0]), 1.0, 3e-3, np.stack([x, np.cross(z, x), z]))


def intensities(grid, slices, incident):
    """|S_G(k)|^2 as (tilts, beams) and the beams (beams, 2), those well inside the band limit."""
    waves, _ = amplitudes(grid, slices, KEV, np.atleast_2d(incident))
    beams = grid.beams.reshape(-1, 2)
    inside = np.hypot(*beams.T) < 0.8 * grid.limit
    return waves.abs().square().double().numpy()[:, inside], beams[inside]


def at(beams, g):
    """The index of beam ``g``."""
    distance = np.linalg.norm(beams - g, axis=1)
    assert distance.min() < 1e-6
    return int(distance.argmin())
