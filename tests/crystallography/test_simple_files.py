"""POSCAR and extended XYZ: what ASE writes reads back as the same crystal; bad files are refused in a sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgexp.crystallography.families import same_structure
from sgexp.crystallography.files import read_structure, read_structures
from sgexp.crystallography.library import load_library
from sgexp.crystallography.simple_files import read_poscar, read_xyz
from sgexp.crystallography.symmetry import primitive
from sgexp.errors import DataError

ase = pytest.importorskip("ase")
ase_io = pytest.importorskip("ase.io")

POSCAR = """rock salt, primitive
1.0
0.0 2.82 2.82
2.82 0.0 2.82
2.82 2.82 0.0
Na Cl
1 1
Direct
0.0 0.0 0.0
0.5 0.5 0.5
"""
XYZ = """2
Lattice="0.0 2.82 2.82 2.82 0.0 2.82 2.82 2.82 0.0" Properties=species:S:1:pos:R:3 pbc="T T T"
Na 0.0 0.0 0.0
Cl 2.82 2.82 2.82
"""
SMALL = [crystal for crystal in load_library() if len(crystal) <= 40]
SOME = [*SMALL[:: len(SMALL) // 6], *[crystal for crystal in SMALL if crystal.space_group in (144, 145, 152, 154)][:2]]


def write(folder, text, name):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("crystal", SOME, ids=lambda crystal: crystal.name)
def test_what_ase_writes_reads_back_as_the_same_crystal(crystal, tmp_path):
    whole = ase.Atoms(crystal.numbers, cell=crystal.cell, scaled_positions=crystal.positions, pbc=True)
    cell, positions, numbers = primitive(crystal.cell, crystal.positions, crystal.numbers, 0.01)
    small = ase.Atoms(numbers, cell=cell, scaled_positions=positions, pbc=True)
    left = ase.Atoms(numbers, cell=cell[[1, 0, 2]], scaled_positions=positions[:, [1, 0, 2]], pbc=True)
    for atoms in (whole, small, left):
        ase_io.write(tmp_path / "direct.vasp", atoms, format="vasp", direct=True)
        ase_io.write(tmp_path / "cartesian.vasp", atoms, format="vasp", direct=False)
        ase_io.write(tmp_path / "x.xyz", atoms, format="extxyz")
        for name in ("direct.vasp", "cartesian.vasp", "x.xyz"):
            found = read_structure(tmp_path / name)
            assert found.space_group == crystal.space_group  # its hand too
            assert len(found) == len(crystal)  # conventional, whatever the file holds
            assert same_structure(found, crystal)
            assert np.linalg.det(found.cell) > 0


def test_no_atom_is_moved(tmp_path):
    cell = np.array([[4.1, 0, 0], [1.1, 5.2, 0], [-0.7, 1.3, 6.3]])
    positions = np.array([[0.1, 0.2, 0.3], [0.45, 0.7, 0.15], [0.8, 0.35, 0.62], [0.33, 0.91, 0.77]])
    atoms = ase.Atoms("NaClOPb", cell=cell, scaled_positions=positions, pbc=True)
    ase_io.write(tmp_path / "a.xyz", atoms, format="extxyz")
    found = read_xyz(tmp_path / "a.xyz")
    again = ase.Atoms(found.numbers, cell=found.cell, scaled_positions=found.positions, pbc=True)
    assert found.space_group == 1 and found.volume == pytest.approx(atoms.get_volume())
    order = [list(again.numbers).index(number) for number in atoms.numbers]
    for one, other in ((0, 1), (1, 2), (2, 3), (3, 0)):
        distance = again.get_distance(order[one], order[other], mic=True)
        assert distance == pytest.approx(atoms.get_distance(one, other, mic=True), abs=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("1.0\n", "-44.851536\n", 1),  # the volume
        lambda text: text.replace("1.0\n", "1.0 1.0 1.0\n", 1),
        lambda text: text.replace("1.0\n", "2.0\n", 1).replace("2.82", "1.41"),
        lambda text: text.replace("Direct", "Selective dynamics\nDirect").replace("0.5 0.5 0.5", "0.5 0.5 0.5 T T F"),
        lambda text: text.replace("Na Cl", "Na_pv Cl/1a2b"),
        lambda text: text.replace("Direct", "cartesian").replace("0.5 0.5 0.5", "2.82 2.82 2.82"),
        lambda text: text.replace("1.0\n", "-44.851536\n", 1)
        .replace("2.82", "1.0").replace("Direct", "Cartesian").replace("0.5 0.5 0.5", "1.0 1.0 1.0"),
        lambda text: text + "\n0.0 0.0 0.0\n0.0 0.0 0.0\n",  # velocities
    ],
)  # fmt: skip
def test_vasps_ways_of_writing_one_crystal(change, tmp_path):
    found = read_poscar(write(tmp_path, change(POSCAR), "salt.vasp"))
    assert (found.space_group, len(found), found.name) == (225, 8, "salt")
    assert found.abc == pytest.approx([5.64] * 3)
    assert same_structure(found, read_xyz(write(tmp_path, XYZ, "x.xyz")))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("a.vasp", lambda text: text.replace("Na Cl\n", ""), "names no elements"),
        ("a.vasp", lambda text: text.replace("1 1\n", "1\n"), "line 7"),
        ("a.vasp", lambda text: text.replace("1 1\n", "9" * 5000 + " 1\n"), "line 7"),
        ("a.vasp", lambda text: text.replace("1 1\n", "999999 1\n"), "more than 5000 atoms"),
        ("a.vasp", lambda text: text.replace("1 1\n", "1 2\n"), "ends at line 10"),
        ("a.vasp", lambda text: text.replace("Direct", "Whatever"), "neither Direct nor Cartesian"),
        ("a.vasp", lambda text: text.replace("Cl", "Qq"), "'Qq' is no element"),
        ("a.vasp", lambda text: text.replace("0.5 0.5 0.5", "nan 0.5 0.5"), "line 10 does not hold the 3 numbers"),
        ("a.vasp", lambda text: text.replace("0.5 0.5 0.5", "0.0 0.0 0.01"), "atoms stand"),
        ("a.vasp", lambda text: text.replace("1.0\n", "0.0\n", 1), "line 2 must hold"),
        ("a.vasp", lambda text: text.replace("2.82 0.0 2.82", "0.0 2.82 2.82"), "span no cell"),
        ("a.vasp", lambda text: "", "ends before"),
        ("a.xyz", lambda text: "2\nwater\nNa 0 0 0\nCl 2 2 2\n", "plain XYZ file"),
        ("a.xyz", lambda text: text.replace("T T T", "T T F"), "is no crystal"),
        ("a.xyz", lambda text: text.replace("2\n", "3\n", 1), "ends after 2 of 3 atoms"),
        ("a.xyz", lambda text: text.replace("2\n", "two\n", 1), "line 1"),
        ("a.xyz", lambda text: text + text, "more than one structure"),
        ("a.xyz", lambda text: text.replace("species:S:1:", ""), "names no species"),
        ("a.xyz", lambda text: text.replace("Cl 2.82", "Cl"), "line 4 does not hold"),
        ("a.xyz", lambda text: text.replace("pbc", "a" * 5000 + "=1 pbc"), "more than 4000 characters"),
        ("a.xyz", lambda text: text + "x" * 2_100_000, "more than 2 MB"),
        ("a.xyz", lambda text: text.replace("0.0 2.82 2.82 ", "0.0 2.82 "), "line 2 does not hold the 9 numbers"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(name, change, message, tmp_path):
    path = write(tmp_path, change(XYZ if name.endswith("xyz") else POSCAR), name)
    with pytest.raises(DataError, match=message) as caught:
        read_structure(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_a_file_holds_it_is_read_or_refused(data, tmp_path_factory):
    name = data.draw(st.sampled_from(["any.vasp", "any.xyz"]))
    text = POSCAR if name.endswith("vasp") else XYZ
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + data.draw(st.text(max_size=8)) + text[place + data.draw(st.integers(0, 6)) :]
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        assert 1 <= read_structure(path).space_group <= 230
    except DataError as error:
        assert "\n" not in str(error)


def test_a_folder_may_mix_them(tmp_path):
    write(tmp_path, POSCAR, "salt.vasp")
    write(tmp_path, XYZ.replace("Cl", "Br"), "bromide.xyz")
    write(tmp_path, XYZ, "salt.xyz")
    write(tmp_path, "3\nwater\n", "water.xyz")
    crystals, refused = read_structures(tmp_path)
    assert [crystal.name for crystal in crystals] == ["bromide", "salt"]
    assert {crystal.family for crystal in crystals} == {"bromide"}
    assert [name for name, _ in refused] == ["salt.xyz", "water.xyz"]
    assert "another file" in refused[0][1]
    with pytest.raises(DataError, match=r"none of \.cif, \.vasp, \.xyz"):
        read_structure(tmp_path / "x.pdb")
