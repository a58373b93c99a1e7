"""CIF files: what is read agrees with pymatgen and ASE writers, and bad files are refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest

from sgexp.crystallography import cif
from sgexp.crystallography.cif import read_cif
from sgexp.crystallography.families import same_structure
from sgexp.crystallography.files import read_structures
from sgexp.crystallography.library import load_library
from sgexp.errors import DataError

from ..cif_text import ATOMS

QUARTZ = f"""data_quartz
_cell_length_a 4.916
_cell_length_b 4.916
_cell_length_c 5.4054(4)
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_space_group_name_H-M_alt 'P 32 2 1'
{ATOMS}_atom_site_occupancy
Si1 Si 0.4697(2) 0 0.6667 1
O1 O 0.4135 0.2669 0.7858 {{occupancy}}
"""


def write(folder, text, name="quartz.cif"):
    path = folder / name
    path.write_text(text)
    return path


def test_symmetry_is_expanded_and_labelled(tmp_path):
    crystal = read_cif(write(tmp_path, QUARTZ.format(occupancy=1)))
    assert crystal.formula == "Si3 O6"
    assert crystal.space_groups == (154, 154, 154)
    assert crystal.name == crystal.parent == "quartz"
    np.testing.assert_allclose(crystal.abc, [4.916, 4.916, 5.4054], atol=1e-6)
    np.testing.assert_allclose(crystal.angles, [90, 90, 120], atol=1e-6)


def test_listed_operations_are_used_when_no_group_is_named(tmp_path):
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,z'\n'x,-y,-z'\n'-x,y,-z'\n"
    text = QUARTZ.format(occupancy=1).replace("_space_group_name_H-M_alt 'P 32 2 1'\n", operations)
    text = text.replace("gamma 120", "gamma 90").replace("0.4697(2)", "0.3")
    assert read_cif(write(tmp_path, text)).space_group == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.format(occupancy=0.5), "site O1 has a partial occupancy of 0.5"),
        (lambda text: text.split("loop_")[0], "holds no atoms"),
        (lambda text: "not a CIF at all", "not readable as CIF"),
        (lambda text: text.format(occupancy=1).replace("O1 O", "Q1 Q"), "site Q1 is no element"),
        (lambda text: text.format(occupancy=1).replace("0.4135", "?"), "site O1 has no coordinates"),
        (lambda text: text.format(occupancy=1).replace("P 32 2 1", "P 9 9 9"), "space group 'P 9 9 9' is not known"),
        (lambda text: text.format(occupancy=1) + "O2 O 0.4139 0.2660 0.7990 1\n", "O and O atoms stand"),
        (lambda text: "\n".join(x for x in text.format(occupancy=1).split("\n") if "_cell" not in x), "no unit cell"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(tmp_path, change, message):
    path = write(tmp_path, change(QUARTZ))
    with pytest.raises(DataError, match=message) as caught:
        read_cif(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_gives_the_good_crystals_and_the_reasons_for_the_bad(tmp_path):
    write(tmp_path, QUARTZ.format(occupancy=1), "a.cif")
    write(tmp_path, QUARTZ.format(occupancy=1).replace("P 32 2 1", "P 31 2 1").replace("0.6667", "0.3333")
          .replace("0.7858", "0.2142"), "b.CIF")  # fmt: skip
    write(tmp_path, QUARTZ.format(occupancy=0.3), "c.cif")
    write(tmp_path, "readme", "notes.txt")
    crystals, bad = read_structures(tmp_path)
    assert [crystal.space_group for crystal in crystals] == [154, 152]
    assert {crystal.family for crystal in crystals} == {"a"}, "the two hands of quartz are one family"
    assert [name for name, _ in bad] == ["c.cif"]
    assert bad[0][1].startswith("site O1 has a partial occupancy")


def test_copies_of_a_structure_are_refused_by_the_name_of_the_first(tmp_path):
    text = QUARTZ.format(occupancy=1)
    write(tmp_path, text, "a.cif")
    write(tmp_path, text.replace("5.4054(4)", "5.51").replace("4.916", "5.01"), "b.CIF")
    write(tmp_path, text.replace("Si1 Si", "Ge1 Ge"), "c.cif")
    steps = []
    crystals, refused = read_structures(tmp_path, progress=lambda *step: steps.append(step))
    assert [crystal.name for crystal in crystals] == ["a", "c"]
    assert {crystal.family for crystal in crystals} == {"a"}
    assert refused == [("b.CIF", "is a copy of a.cif")]
    assert steps[-1] == (6, 6) and steps == sorted(steps)


def test_cells_too_large_are_refused_before_they_are_expanded(tmp_path, monkeypatch):
    expanded = []
    true_orbit = cif.orbit
    monkeypatch.setattr(cif, "orbit", lambda *given: (expanded.append(1), true_orbit(*given))[1])
    rows = "".join(f"H{n} H {n / 6001:.5f} 0.1 0.2 1\n" for n in range(6000))
    with pytest.raises(DataError, match="more than 5000 atoms"):
        read_cif(write(tmp_path, QUARTZ.format(occupancy=1) + rows))
    assert not expanded
    with pytest.raises(DataError, match="more than 5000 atoms"):
        read_cif(write(tmp_path, QUARTZ.format(occupancy=1) + rows[: rows.index("H2000 ")]))
    assert len(expanded) < 1000
    operations = "loop_\n_symmetry_equiv_pos_as_xyz\n" + "'x,y,z'\n" * 1001
    text = QUARTZ.format(occupancy=1).replace("_space_group_name_H-M_alt 'P 32 2 1'\n", operations)
    with pytest.raises(DataError, match="lists 1001 symmetry operations, more than 1000"):
        read_cif(write(tmp_path, text))


def test_missing_or_useless_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        read_structures(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no such file"):
        read_cif(tmp_path / "nowhere.cif")
    with pytest.raises(DataError, match=r"no file that ends in \.cif"):
        read_structures(tmp_path)
    write(tmp_path, QUARTZ.format(occupancy=0.3))
    with pytest.raises(DataError, match=r"none of 1 files can be used; the first: quartz\.cif"):
        read_structures(tmp_path)


def test_files_written_by_pymatgen_read_back_as_the_same_crystal(tmp_path):
    pymatgen = pytest.importorskip("pymatgen.core")
    writer = pytest.importorskip("pymatgen.io.cif").CifWriter
    small = [crystal for crystal in load_library() if len(crystal) <= 40]
    for crystal in small[:: len(small) // 25]:
        lattice = pymatgen.Lattice(crystal.cell)
        structure = pymatgen.Structure(lattice, crystal.numbers, crystal.positions)
        path = tmp_path / f"{crystal.name}.cif"
        writer(structure, symprec=0.01).write_file(path)
        read = read_cif(path)
        assert read.space_group == crystal.space_group
        assert same_structure(read, crystal)
