"""Displacements that a CIF file gives: read as others read them, used where asked, and kept where crystals go."""

from dataclasses import replace

import gemmi
import numpy as np
import pytest

from sgexp.crystallography.cif import read_cif
from sgexp.crystallography.crystal import Crystal
from sgexp.crystallography.stored import load_crystals, save_crystals
from sgexp.crystallography.substitution import apply_mapping
from sgexp.errors import DataError
from sgexp.simulation.generation import settings_fingerprint
from sgexp.simulation.multislice import Multislice
from sgexp.simulation.protocol import rms_displacements
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.stack import simulate
from sgexp.simulation.tilt import Tilt

from ..cif_text import ATOMS

HEAD = """data_perovskite
_cell_length_a 3.99
_cell_length_b 3.99
_cell_length_c 4.03
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P 4 m m'
"""
PLACES = {"Ba1": "Ba 0 0 0", "Ti1": "Ti 0.5 0.5 0.52", "O1": "O 0.5 0.5 0.97", "O2": "O 0.5 0 0.49"}
CONFIG = SimulationConfig(grid=64, box=20.0, pixels=32, thickness=30.0, displacement=0.07)


def cif(folder, keys, values, more=""):
    rows = [f"{label} {PLACES[label]} {values[label]}" for label in PLACES]
    path = folder / "perovskite.cif"
    path.write_text(HEAD + ATOMS + "".join(f"{key}\n" for key in keys) + "\n".join(rows) + "\n" + more)
    return path


def by_symbol(crystal):
    return {gemmi.Element(number).name: rms for number, rms in crystal.displacements}


def test_isotropic_u_is_averaged_over_an_elements_sites(tmp_path):
    values = {"Ba1": "0.0036(2)", "Ti1": 0.0049, "O1": 0.01, "O2": 0.016}
    found = by_symbol(read_cif(cif(tmp_path, ["_atom_site_U_iso_or_equiv"], values)))
    assert found == pytest.approx({"Ba": 0.06, "Ti": 0.07, "O": np.sqrt((0.01 + 2 * 0.016) / 3)})


def test_b_is_eight_pi_squared_u(tmp_path):
    values = {"Ba1": 0.3, "Ti1": 0.4, "O1": 0.8, "O2": 0.8}
    found = by_symbol(read_cif(cif(tmp_path, ["_atom_site_B_iso_or_equiv"], values)))
    assert found == pytest.approx(
        {name: np.sqrt(b / (8 * np.pi**2)) for name, b in zip(("Ba", "Ti", "O"), (0.3, 0.4, 0.8), strict=True)}
    )


def test_an_anisotropic_site_counts_by_its_equivalent_u(tmp_path):
    keys = ["label", *(f"U_{part}" for part in ("11", "22", "33", "12", "13", "23"))]
    loop = "loop_\n" + "".join(f"_atom_site_aniso_{key}\n" for key in keys) + "Ti1 0.003 0.003 0.009 0 0 0\n"
    values = {"Ba1": 0.0036, "Ti1": ".", "O1": "?", "O2": 0.016}
    found = by_symbol(read_cif(cif(tmp_path, ["_atom_site_U_iso_or_equiv"], values, loop)))
    assert found == pytest.approx({"Ba": 0.06, "Ti": np.sqrt(0.005)})  # of one oxygen nothing is known


def test_a_file_without_any_gives_none(tmp_path):
    assert read_cif(cif(tmp_path, ["_atom_site_occupancy"], dict.fromkeys(PLACES, 1))).displacements == ()


def perovskite(displacements):
    positions = [[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0.97], [0.5, 0, 0.49], [0, 0.5, 0.49]]
    crystal = Crystal.from_arrays(np.diag([3.99, 3.99, 4.03]), ["Ba", "Ti", "O", "O", "O"], positions, name="p")
    return replace(crystal, displacements=displacements)


def test_they_are_used_where_asked_and_the_settings_own_come_first():
    crystal = perovskite(((8, 0.1), (56, 0.06)))
    asked = replace(CONFIG, file_displacement=True)
    numbers = np.array([8, 22, 56])
    assert rms_displacements(numbers, crystal, CONFIG).tolist() == [0.07, 0.07, 0.07]
    assert rms_displacements(numbers, crystal, asked).tolist() == [0.1, 0.07, 0.06]
    both = replace(asked, element_displacement={"O": 0.2, "Ti": 0.0})
    assert rms_displacements(numbers, crystal, both).tolist() == [0.2, 0.0, 0.06]


@pytest.mark.parametrize("engine", [Multislice(), Multislice(thermal="einstein"), Tilt()])
def test_engines_move_elements_by_what_the_file_says(engine):
    crystal, plain = perovskite(((8, 0.12), (56, 0.05))), perovskite(())
    asked = replace(CONFIG, file_displacement=True)
    ours = simulate(crystal, asked, engine, 100.0)
    told = replace(CONFIG, element_displacement={"O": 0.12, "Ba": 0.05})
    assert np.array_equal(ours.patterns, simulate(plain, told, engine, 100.0).patterns)
    assert np.array_equal(
        simulate(crystal, CONFIG, engine, 100.0).patterns, simulate(plain, CONFIG, engine, 100.0).patterns
    )
    extra = ours.extra(crystal)
    assert extra["B_O"] == pytest.approx(8 * np.pi**2 * 0.12**2)
    assert "B_Ti" not in extra


def test_an_impossible_one_is_told_in_a_sentence():
    wild = perovskite(((8, 1.4),))
    simulate(wild, CONFIG, Tilt(), 100.0)  # nobody asked for it
    with pytest.raises(DataError, match=r"its file has O move by 1\.40 Å"):
        simulate(wild, replace(CONFIG, file_displacement=True), Tilt(), 100.0)


def test_children_of_other_elements_do_not_inherit_them():
    child = apply_mapping(perovskite(((8, 0.1),)), (16, 22, 56))
    assert child.formula == "Ba1 Ti1 S3"
    assert child.displacements == ()


def test_they_are_kept_on_disk_and_name_the_data_where_they_count(tmp_path):
    some = [perovskite(((8, 0.1), (56, 0.06))), replace(perovskite(()), name="q")]
    save_crystals(tmp_path / "c.npz", some)
    assert [crystal.displacements for crystal in load_crystals(tmp_path / "c.npz")] == [some[0].displacements, ()]
    moved, asked = [perovskite(((8, 0.2),)), some[1]], replace(CONFIG, file_displacement=True)
    names = {settings_fingerprint(crystals, asked, asked.engine) for crystals in (some, moved)}
    assert len(names) == 2
    assert len({settings_fingerprint(crystals, CONFIG, CONFIG.engine) for crystals in (some, moved)}) == 1
