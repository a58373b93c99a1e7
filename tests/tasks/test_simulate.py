"""``task=simulate``: from where crystals come, and what is said of those that give none."""

import csv

import h5py
import pytest

from sgexp.__main__ import main
from sgexp.composition import Composer
from sgexp.schema import build
from sgexp.simulation.unreadable import UNREADABLE, read_unreadable, write_unreadable
from sgexp.tasks.prepare import simulate_into, simulation_recipe

from ..commands import digests

TINY = ["task=simulate", "size=tiny", "simulation.processes=1"]
SALT = '2\nLattice="5.6 0 0 0 5.6 0 0 0 5.6" Properties=species:S:1:pos:R:3\nCs 0 0 0\nI 2.8 2.8 2.8\n'


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sgexp"])

    def ask(*arguments):
        code = main([*TINY, f"task.folder={tmp_path / 'made'}", *arguments])
        return code, capsys.readouterr()

    return ask


def samples(folder):
    found = {}
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path) as file:
            for group in file.values():
                found[group.attrs["material"].decode()] = int(group.attrs["space_group"])
    return found


def test_random_crystals_of_chosen_groups_are_simulated(ask, tmp_path):
    pytest.importorskip("pyxtal")
    code, said = ask("task.source=random", "task.groups=[75,14]", "task.each=2")
    assert code == 0, said.err
    assert samples(tmp_path / "made") == {"random-75-0": 75, "random-75-1": 75, "random-14-0": 14, "random-14-1": 14}
    assert not (tmp_path / "made" / UNREADABLE).exists()


def test_what_cannot_be_read_is_listed_with_the_reason(ask, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "salt.xyz").write_text(SALT)
    (tmp_path / "in" / "copy.xyz").write_text(SALT)
    (tmp_path / "in" / "water.xyz").write_text("3\nwater\n")
    code, said = ask("task.source=cifs", f"task.cifs={tmp_path / 'in'}")
    assert code == 0, said.err
    assert samples(tmp_path / "made") == {"copy": 221}
    with (tmp_path / "made" / UNREADABLE).open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows] == ["input", "salt.xyz", "water.xyz"]
    assert "is a copy of copy.xyz" in rows[1][1] and "plain XYZ" in rows[2][1]
    assert "2 inputs could not be used" in " ".join(said.out.split())


def test_groups_belong_to_random_crystals(ask):
    assert ask("task.groups=[14]")[0] == 2
    assert ask("task.source=random", "task.groups=[14,14]")[0] == 2
    assert ask("task.source=random", "task.groups=[231]")[0] == 2


def test_the_list_of_what_was_refused_survives_any_name(tmp_path):
    refused = [("a,b\nc.cif", 'says "no"'), ("[red].cif", "é"), ("\udcff.cif", "no text")]
    write_unreadable(tmp_path, refused)
    assert len(read_unreadable(tmp_path)) == 3 and refused[0] in read_unreadable(tmp_path)
    write_unreadable(tmp_path, [])
    assert read_unreadable(tmp_path) == [] and not list(tmp_path.iterdir())


def test_shards_say_what_is_theirs_and_what_is_still_to_come(ask, tmp_path):
    few = ["task.limit=4", "simulation.materials_per_file=1"]
    code, said = ask(*few, "task.shard=2/3")
    assert code == 0, said.err
    words = " ".join(said.out.split())
    assert "shard 2/3: 1 samples of 1 crystals in 1 files" in words and "3 files are still to come" in words
    code, said = ask(*few)
    assert code == 0 and "4 samples of 4 crystals in 4 files" in " ".join(said.out.split())
    assert len(samples(tmp_path / "made")) == 4


@pytest.mark.parametrize("shard", ["0/4", "5/4", "3", "3/40x", "-1/4"])
def test_what_is_no_share_is_refused(ask, shard):
    code, said = ask(f"task.shard={shard}")
    assert code == 2 and "no share" in said.err and "3/40" in said.err


def test_files_hold_the_directions_asked_for(ask, tmp_path):
    code, said = ask("simulation=smc19", "simulation.uvw=[[0,0,1],[1,1,0],[1,-1,2]]", "task.limit=2")
    assert code == 0, said.err
    for path in (tmp_path / "made").glob("*.h5"):
        with h5py.File(path) as file:
            assert len(file) == 2
            for group in file.values():
                assert group["sgexp"].attrs["uvw"].tolist() == [[0, 0, 1], [1, 1, 0], [1, -1, 2]]
                assert group.attrs["z_dirs"][0].T.tolist() == [[0, 0, 1], [1, 1, 0], [1, -1, 2]]


@pytest.mark.parametrize("dataset", ["crystals", "cbed230"])
def test_shards_of_a_data_set_are_what_its_trainings_look_for(tmp_path, monkeypatch, capsys, dataset):
    monkeypatch.setattr("sys.argv", ["sgexp"])
    words = [f"dataset={dataset}", "size=tiny", "simulation.processes=1", "simulation.materials_per_file=20"]
    for shard in ("1/2", "2/2"):
        assert main(["task=simulate", *words, f"data_dir={tmp_path / 'made'}", f"task.shard={shard}"]) == 0
    assert "a training with the same dataset=" in " ".join(capsys.readouterr().out.split())

    def prepared(data_dir, simulated):
        config = Composer().check([*words, f"data_dir={data_dir}"])
        return build(config.dataset).prepare(lambda folder: simulated(folder, config), simulation_recipe(config))

    def nothing_left(folder, config):
        before = {path: path.stat().st_mtime_ns for path in folder.glob("*.h5")}
        simulate_into(folder, config)
        assert {path: path.stat().st_mtime_ns for path in folder.glob("*.h5")} == before and len(before) > 2

    found = prepared(tmp_path / "made", nothing_left)
    alone = prepared(tmp_path / "alone", simulate_into)
    assert digests(found, "*.h5") == digests(alone, "*.h5")


def test_a_part_of_a_data_set_does_not_stand_where_trainings_look(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sgexp"])
    assert main([*TINY, f"data_dir={tmp_path}", "task.limit=3"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["simulated"]
