"""Each protocol's file holds the numbers of its source: SMC-19, namsa, and what a microscope gives."""

from dataclasses import asdict

import numpy as np
import pytest

from sgexp.composition import Composer
from sgexp.schema import build
from sgexp.simulation import blind, protocol
from sgexp.simulation.physics import wavelength

from .crystals import quartz, silicon

SMC19 = {
    "grid": 512,
    "box": 100.0,
    "pixels": 512,
    "probes": 64,  # 8 x 8
    "thickness": 100.0,
    "max_slice": None,  # slices are as thick as d
    "energies_kev": [100.0, 110.0, 120.0, 130.0, 140.0, 150.0, 160.0, 170.0, 180.0, 190.0],
    "energies_per_material": 10,
    "reference_energy_kev": 100.0,
    "overlap": 0.5,
    "mistilt_mrad": 0.0,
    "aperture_edge": 80.0,
    "displacement": 0.07,
}
"""OLCF DOI 10.13139/OLCF/1510313 and github.com/nlaanait/namsa."""

CAMERA = {
    "dose": [1e5, 1e7],
    "background": [0.0, 0.2],
    "blur": [0.3, 1.0],
    "saturation": [1e4, 1e6],
    "beam_stop": 0.2,
    "miscentring": 0.02,
    "ellipticity": 0.02,
}
"""What a camera does to a pattern, each drawn anew for each: none of it may be off."""


def composed(*words):
    return Composer().check(list(words)).simulation


@pytest.mark.parametrize("choice", ["smc19", "namsa_compat"])
def test_smc19s_numbers_are_those_published(choice):
    config = composed(f"simulation={choice}", "size=smc19")
    assert {name: getattr(config, name) for name in SMC19} == SMC19
    assert build(config.engine).name == "multislice" and config.engine.thermal == "frozen_phonons"
    assert config.engine.band_limit == 1.0 and config.detector.target.endswith("Ideal")
    as_in_namsa = {"placement": "pixel", "extent": True}
    as_exact = {"placement": "exact", "extent": False}
    shown = {name: getattr(config.engine, name) for name in as_exact}
    assert shown == (as_in_namsa if choice == "namsa_compat" else as_exact)


def test_smc19s_zones_come_of_its_numbers():
    """The disk's radius is 1 / (4 d) at 100 kV, in all energies the same angle; 100 Å are whole slices of d."""
    config = composed("simulation=smc19", "size=smc19")
    assert protocol.probe_positions(config.probes, (config.box, config.box)).min() == 25.0
    for zone in protocol.zones(silicon(), config):
        assert zone.semi_angle / wavelength(100.0) == pytest.approx(1.0 / (4.0 * zone.d))
        assert protocol.depth(zone, config) == pytest.approx(zone.d * int(100.0 / zone.d))


def test_blinds_numbers_are_what_a_microscope_gives():
    config = composed("simulation=blind")
    assert config.thickness == [50.0, 1500.0] and config.max_tilt == 30.0
    assert (min(config.apertures_mrad), max(config.apertures_mrad)) == (1.0, 10.0) and len(config.apertures_mrad) == 6
    assert (min(config.energies_kev), max(config.energies_kev)) == (60.0, 300.0) and len(config.energies_kev) == 10
    assert config.mistilt_mrad == [0.0, 5.0]
    assert {name: asdict(config.detector)[name] for name in CAMERA} == CAMERA
    assert config.detector.target.endswith("Camera")


def test_every_pattern_of_blind_is_turned_and_mistilted_by_itself():
    config = composed("simulation=blind")
    stacks = [blind.zones(quartz(), config, 200.0, seed) for seed in range(30)]
    for zones in stacks:
        assert len({zone.recorded["rotation_rad"] for zone in zones}) == 3
        assert len({zone.mistilt for zone in zones}) == 3
        assert len({zone.semi_angle for zone in zones}) == 1  # one aperture for a sample


def test_what_blinds_camera_does_is_drawn_for_every_pattern():
    config = composed("simulation=blind")
    detector = build(config.detector)
    pattern = np.full((3, 32, 32), 1.0 / 32**2, dtype=np.float32)
    seen = [detector.record(pattern, seed)[1] for seed in range(40)]
    for name in ("dose", "background", "blur", "shift", "ellipticity"):
        values = np.concatenate([one[name].ravel() for one in seen])
        assert len(np.unique(values)) == len(values), name
    stopped = np.concatenate([one["beam_stop"] for one in seen]) > 0.0
    assert 0.1 < stopped.mean() < 0.3
