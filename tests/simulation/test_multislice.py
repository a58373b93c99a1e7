import numpy as np
import pytest
import torch

from sgexp.errors import ConfigError
from sgexp.schema import build
from sgexp.simulation import multislice, protocol
from sgexp.simulation.multislice import Illumination, Multislice
from sgexp.simulation.physics import wavelength
from sgexp.simulation.potential import slice_phases
from sgexp.simulation.schema import MultisliceEngine, SimulationConfig

from .crystals import quartz, strontium_titanate

GRID = (64, 64)


def slab_and_beam(probes=1, crystal=None, thickness=60.0):
    config = SimulationConfig(grid=64, box=16.0, thickness=thickness)
    crystal = crystal or quartz()
    zone = protocol.zones(crystal, config)[0]
    slab = protocol.displaced(protocol.cut_slab(crystal, zone, config), 0.07, np.random.default_rng(0))
    return slab, Illumination(100.0, zone.semi_angle, 80.0, protocol.probe_positions(probes, slab.box))


@pytest.mark.parametrize("make", [quartz, strontium_titanate])
def test_intensity_is_conserved_without_the_band_limit(make):
    slab, beam = slab_and_beam(probes=4, crystal=make(), thickness=200.0)
    for waves in Multislice().exit_waves(slab, beam, GRID, limited=False):
        assert (waves.abs().double() ** 2).sum(dim=(1, 2)).numpy() == pytest.approx(np.ones(len(waves)), abs=1e-4)


def test_nothing_lies_beyond_the_band_limit_and_little_is_lost():
    slab, beam = slab_and_beam()
    engine = Multislice(band_limit=0.9)
    pattern = engine.pattern(slab, beam, GRID)
    q = np.hypot(*np.meshgrid(*[(np.arange(64) - 32) / 16.0] * 2))
    assert pattern[q >= engine.q_max(GRID, slab.box)].max() == 0.0
    assert 0.95 < pattern.sum() <= 1.0 + 1e-5


def test_several_probes_give_the_mean_of_each_alone(monkeypatch):
    slab, beam = slab_and_beam(probes=6)
    alone = [
        Multislice().pattern(slab, Illumination(100.0, beam.semi_angle, 80.0, position[None]), GRID)
        for position in beam.positions
    ]
    assert Multislice().pattern(slab, beam, GRID) == pytest.approx(np.mean(alone, axis=0), abs=1e-7)
    monkeypatch.setitem(multislice._PIXELS_AT_ONCE, "cpu", 2 * 64 * 64)
    assert Multislice().pattern(slab, beam, GRID) == pytest.approx(np.mean(alone, axis=0), abs=1e-7)


def test_single_precision_agrees_with_a_plain_double_precision_loop():
    slab, beam = slab_and_beam()
    ky, kx = multislice.frequencies(GRID, slab.box)
    k = np.hypot(ky, kx)
    wave = 1 / (1 + np.exp(-160.0 * (beam.semi_angle / wavelength(100.0) - k)))
    wave = wave / np.sqrt((wave**2).sum()) * np.exp(-2j * np.pi * (kx * 8.0 + ky * 8.0))
    propagator = np.exp(-1j * np.pi * wavelength(100.0) * slab.slice_thickness * k**2) * (k < 2.0)
    for phase in torch.cat(list(slice_phases(slab, GRID, 100.0))).double().numpy():
        wave = np.fft.fft2(np.fft.ifft2(wave) * np.exp(1j * phase)) * propagator
    expected = np.fft.fftshift(np.abs(wave) ** 2)
    ours = Multislice().pattern(slab, beam, GRID)
    assert np.abs(ours - expected).sum() < 2e-5
    assert ours.dtype == np.float32


def test_rectangular_boxes_keep_x_and_y_apart():
    slab, beam = slab_and_beam()
    turned = protocol.Slab(slab.numbers, slab.positions[:, [1, 0, 2]], slab.box, slab.slice_thickness, slab.slices)
    assert Multislice().pattern(turned, beam, GRID) == pytest.approx(Multislice().pattern(slab, beam, GRID).T, abs=1e-6)
    assert Multislice().pattern(slab, beam, (64, 96)).shape == (64, 96)


def test_the_schema_builds_the_engine():
    engine = build(MultisliceEngine(band_limit=0.5))
    assert isinstance(engine, Multislice)
    assert engine.q_max((64, 64), (16.0, 16.0)) == pytest.approx(1.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        Multislice(device="cuda")
    assert Multislice(device="auto").device == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_gpu_computes_the_same_pattern():
    slab, beam = slab_and_beam(probes=4)
    cpu, gpu = (Multislice(device=device).pattern(slab, beam, GRID) for device in ("cpu", "cuda"))
    assert gpu == pytest.approx(cpu, abs=1e-6)


def test_slices_taken_in_blocks_give_the_same_pattern(monkeypatch):
    slab, beam = slab_and_beam(probes=3)
    whole = Multislice().pattern(slab, beam, GRID)
    monkeypatch.setitem(multislice._GRATINGS_AT_ONCE, "cpu", 64 * 64)
    monkeypatch.setitem(multislice._PIXELS_AT_ONCE, "cpu", 64 * 64)
    assert Multislice().pattern(slab, beam, GRID) == pytest.approx(whole, abs=1e-9)
