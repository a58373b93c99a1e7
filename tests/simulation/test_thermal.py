import numpy as np
import pytest
import torch

from sgexp.simulation import protocol
from sgexp.simulation.multislice import Illumination, Motion, Multislice
from sgexp.simulation.potential import form_factor
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.thermal import (
    absorptive_form_factor,
    diffuse_background,
    diffuse_intensity,
    smeared_form_factor,
)

from .crystals import strontium_titanate

B = 8 * np.pi**2 * 0.07**2


def on_a_grid(values, size, pixels):
    """A function of k^2 as a function of r: the inverse transform over a box of ``size`` Å."""
    k = np.fft.fftfreq(pixels, size / pixels)
    return np.fft.ifft2(values(k[:, None] ** 2 + k[None] ** 2)).real * (pixels / size) ** 2


@pytest.mark.parametrize("number", [6, 38, 82])
def test_absorption_is_half_the_variance_of_the_phase(number):
    # <phi^2> - <phi>^2 on a grid, the mean over displacements being a convolution with a Gaussian.
    size, pixels = 5.0, 320
    k = np.fft.fftfreq(pixels, size / pixels)
    gaussian = np.exp(-B / 4 * (k[:, None] ** 2 + k[None] ** 2))
    phase = on_a_grid(lambda k2: form_factor(number, k2), size, pixels)

    def mean(field):
        return np.fft.ifft2(np.fft.fft2(field) * gaussian).real

    expected = (mean(phase**2) - mean(phase) ** 2) / 2
    ours = on_a_grid(lambda k2: absorptive_form_factor(number, k2, B), size, pixels)
    assert ours == pytest.approx(expected, abs=0.01 * expected.max())


def test_without_motion_nothing_is_absorbed_or_smeared():
    k2 = np.linspace(0.0, 16.0, 50)
    assert absorptive_form_factor(38, k2, 0.0) == pytest.approx(0.0, abs=1e-9)
    assert smeared_form_factor(38, k2, 0.0) == pytest.approx(form_factor(38, k2))


def test_all_that_is_absorbed_is_scattered_somewhere():
    q = np.hypot(*np.meshgrid(*[np.arange(-10.0, 10.0, 0.05)] * 2))
    assert diffuse_intensity(np.array([14, 8, 8]), q, {14: B, 8: B}).sum() * 0.05**2 == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("pixels", [64, 256])
def test_the_background_keeps_the_middle_and_the_intensity(pixels):
    elastic = torch.zeros(pixels, pixels)
    elastic[pixels // 2, pixels // 2] = 0.9
    box = (pixels / 20.0,) * 2  # up to 10 1/Å
    diffuse = diffuse_background(elastic, np.array([14]), 0.1, {14: B}, box)
    assert float(diffuse.sum()) == pytest.approx(0.1, rel=0.05)
    ky, kx = np.meshgrid(*[(np.arange(pixels) - pixels // 2)] * 2, indexing="ij")
    weights = diffuse.numpy()
    assert (weights * kx).sum() / weights.sum() == pytest.approx(0.0, abs=1.0)
    assert (weights * ky).sum() / weights.sum() == pytest.approx(0.0, abs=1.0)


def taken_from_the_beam(pixels):
    """Shares of a probe that SrTiO3, 40 Å thick, takes: diffuse in frozen configurations, and absorbed by ours."""
    config = SimulationConfig(grid=pixels, box=20.0, pixels=pixels, thickness=40.0, max_slice=1.0, displacement=0.07)
    crystal, engine, grid = strontium_titanate(), Multislice(), (pixels, pixels)
    zone = protocol.zones(crystal, config)[0]
    slab = protocol.cut_slab(crystal, zone, config)
    beam = Illumination(100.0, zone.semi_angle, config.aperture_edge, np.full((1, 2), config.box / 2))

    def waves(seed):
        moved = protocol.displaced(slab, 0.07, np.random.default_rng(seed))
        return torch.cat(engine.exit_waves(moved, beam, grid))

    frozen = torch.stack([waves(seed) for seed in range(16)])
    one, other = frozen[::2].mean(dim=0), frozen[1::2].mean(dim=0)  # of a square the noise would be taken for a wave
    all_there = float(frozen.abs().square().sum()) / len(frozen)  # but for what left through the picture's edge
    absorbed = []
    motion = Motion(tuple((number, B) for number in np.unique(slab.numbers).tolist()), True)
    engine.exit_waves(slab, beam, grid, motion=motion, absorbed=absorbed)
    return all_there - float((one * other.conj()).real.sum()), float(torch.stack(absorbed).sum()) / pixels**2


def test_absorption_is_what_frozen_phonons_scatter_diffusely_if_their_pixels_hold_the_angles():
    frozen, ours = taken_from_the_beam(200)  # to 5 1/Å
    assert ours == pytest.approx(frozen, rel=0.06)
    coarse, same = taken_from_the_beam(100)  # to 2.5 1/Å, as SMC-19
    assert same == pytest.approx(ours, rel=0.02) and coarse < 0.75 * ours
