import numpy as np
import pytest

from sgexp.data.formats.smc19 import ATTRIBUTES
from sgexp.errors import ConfigError
from sgexp.simulation.multislice import Multislice
from sgexp.simulation.schema import CameraDetector, IdealDetector, SimulationConfig
from sgexp.simulation.stack import bin_pattern, simulate

from .crystals import quartz, silicon, strontium_titanate

SMALL = {"grid": 64, "box": 20.0, "pixels": 32, "thickness": 30.0}


def stack(crystal=None, energy=100.0, seed=None, **settings):
    return simulate(crystal or quartz(), SimulationConfig(**(SMALL | settings)), Multislice(), energy, seed)


def test_a_stack_is_three_patterns_that_hold_the_beam():
    result = stack()
    assert result.patterns.shape == (3, 32, 32)
    assert result.patterns.dtype == np.float32
    assert result.patterns.min() >= 0.0
    total = result.patterns.sum(axis=(1, 2)) + result.scattered_out
    assert total == pytest.approx(np.ones(3), abs=1e-3)
    assert result.q_pixel == pytest.approx(2 / 20.0)
    assert result.q_max == pytest.approx(1.6)


def test_same_seed_same_values_another_seed_others():
    first, again, other = stack(seed=5), stack(seed=5), stack(seed=6)
    assert np.array_equal(first.patterns, again.patterns)
    assert not np.allclose(first.patterns, other.patterns, rtol=1e-2)


def test_without_displacements_the_seed_does_not_matter():
    assert np.array_equal(stack(seed=5, displacement=0.0).patterns, stack(seed=6, displacement=0.0).patterns)


def test_energies_share_zones_and_semi_angles():
    low, high = stack(energy=100.0), stack(energy=190.0)
    assert np.array_equal(low.semi_angles, high.semi_angles)
    assert np.array_equal(low.uvw, high.uvw)
    assert not np.allclose(low.patterns, high.patterns, rtol=1e-2)


def test_a_mirror_zone_of_a_static_crystal_shows_its_mirror_line():
    # In silicon [111] the beam lies in mirror planes; the slab's cut edges are beyond the probe's reach.
    pattern = stack(silicon(), displacement=0.0, box=40.0, grid=128, pixels=64).patterns[0]
    assert np.abs(pattern - pattern[:, ::-1]).sum() / pattern.sum() < 0.02 or (
        np.abs(pattern - pattern[::-1]).sum() / pattern.sum() < 0.02
    )


def test_attributes_are_those_of_smc19():
    result = stack()
    attributes = result.attributes(quartz())
    assert set(attributes) == set(ATTRIBUTES)
    assert attributes["z_dirs"].shape == (1, 3, 3)
    assert attributes["z_dirs"][0, :, 1].tolist() == result.uvw[1].tolist()  # a zone a column
    assert result.extra(quartz())["B"] == pytest.approx(0.387, abs=1e-3)


@pytest.mark.parametrize("pixels", [64, 32, 24])
def test_binning_keeps_the_intensity_and_the_centre(pixels):
    rng = np.random.default_rng(0)
    pattern = np.zeros((64, 64), np.float32)
    pattern[16:49, 16:49] = rng.uniform(size=(33, 33))  # symmetric about the zero frequency at [32, 32]
    binned = bin_pattern(pattern, pixels)
    assert binned.shape == (pixels, pixels)
    assert binned.sum() == pytest.approx(pattern.sum(), rel=1e-5)
    if pixels < 64:
        turned = np.roll(np.rot90(pattern), (1, 0), axis=(0, 1))  # a rotation about [32, 32]
        assert bin_pattern(turned, pixels) == pytest.approx(np.rot90(binned), abs=1e-4)


def test_coarse_sampling_is_refused_before_anything_is_computed():
    with pytest.raises(ConfigError, match="coarser than"):
        stack(strontium_titanate(), grid=32)


CAMERA = CameraDetector(beam_stop=0.5, ellipticity=0.0)


def test_a_camera_stores_whole_counts_over_the_dose_and_says_what_it_did():
    result = stack(detector=CAMERA)
    recorded = result.extra(quartz())
    assert recorded["detector"] == "camera"
    counts = result.patterns * recorded["detector_dose"][:, None, None]
    assert counts == pytest.approx(np.round(counts), abs=0.02)
    assert np.all(counts.max(axis=(1, 2)) <= recorded["detector_saturation"] * 1.0001)
    assert {"detector_shift", "detector_blur", "detector_background", "detector_beam_stop"} <= set(recorded)


def test_without_a_camera_files_say_what_they_always_said():
    assert not [name for name in stack().extra(quartz()) if name.startswith("detector")]
    assert np.array_equal(stack().patterns, stack(detector=IdealDetector()).patterns)


def test_a_cameras_randomness_belongs_to_seed_material_and_energy():
    first, again = stack(detector=CAMERA), stack(detector=CAMERA)
    assert np.array_equal(first.patterns, again.patterns)
    others = [stack(detector=CAMERA, seed=9), stack(detector=CAMERA, energy=110.0), stack(silicon(), detector=CAMERA)]
    for other in others:
        assert not np.array_equal(first.instrument["detector_dose"], other.instrument["detector_dose"])
    # The crystal's own randomness is what it was: the mean over many electrons is the ideal pattern.
    flawless = CameraDetector(
        dose=[1e11, 1e11], background=[0, 0], blur=[0, 0], saturation=None, beam_stop=0, miscentring=0, ellipticity=0
    )
    assert stack(detector=flawless).patterns == pytest.approx(stack().patterns, abs=2e-5)


def test_under_a_camera_the_direct_beam_is_in_the_middle_of_unbinned_pictures_too():
    flawless = {"background": [0, 0], "blur": [0, 0], "saturation": None, "beam_stop": 0, "ellipticity": 0}
    still = CameraDetector(dose=[1e9, 1e9], miscentring=0, **flawless)
    for pixels in (64, 32):
        picture = stack(silicon(), detector=still, pixels=pixels, thickness=1.0, displacement=0.0).patterns[0]
        places = np.arange(pixels) - (pixels - 1) / 2
        bright = picture * (picture > 0.05 * picture.max())  # the direct disk of a thin slab
        middle = [(bright.sum(axis=axis) * places).sum() / bright.sum() for axis in (0, 1)]
        assert middle == pytest.approx([0.0, 0.0], abs=0.05)
