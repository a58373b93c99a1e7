"""What goes wrong with data, disks and machines ends in one sentence, and nothing that was made is lost."""

import csv
import os
import resource
import shutil
import signal
import subprocess

import h5py
import numpy as np
import pytest
import torch
from filelock import FileLock

from sgexp.composition import Composer
from sgexp.schema import build
from sgexp.tasks.prepare import simulation_recipe

from ..commands import TINY, caught, command, digests, end, only_run, read_until, result, runs, start, wait_for
from .test_run_folder import arrays

QUICK = ("size=tiny", "trainer=debug", "evaluation.baselines=[]", "callbacks.progress=false", "logger=none")


@pytest.fixture
def files(tiny_files, tmp_path):
    """Return a folder with copies of the tiny data set's two files, to be harmed."""
    folder = tmp_path / "files"
    folder.mkdir()
    for path in tiny_files.glob("*.h5"):
        shutil.copy(path, folder)
    return folder


def read(folder, cwd, *arguments):
    """Train on a folder of files."""
    return command("dataset=smc19", f"dataset.root={folder}", *QUICK, *arguments, cwd=cwd)


# --- data that cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "held"), [("nowhere", "no folder"), ("empty", ".h5"), ("no_sample", "not one sample")]
)
def test_a_folder_without_data_is_told(folder, held, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "no_sample").mkdir()
    h5py.File(tmp_path / "no_sample" / "batch_train_0.h5", "w").close()
    ended = read(tmp_path / folder, tmp_path)
    assert ended.code == 1
    assert folder in ended.sentence and held in ended.sentence
    assert result(only_run(tmp_path))["status"] == "failed"


@pytest.mark.slow
def test_files_that_are_no_hdf5_or_cut_short_are_set_aside_up_to_the_limit(files, tmp_path):
    for path in list(files.glob("*.h5")):
        for number in (2, 3):
            shutil.copy(path, files / f"copy_{number}_{path.name}")
    (files / "batch_train_8.h5").write_text("<html>404 Not Found</html>")
    whole = (files / "batch_train_0.h5").read_bytes()
    (files / "batch_train_9.h5").write_bytes(whole[: len(whole) // 2])

    ended = read(files, tmp_path)
    assert ended.code == 1
    assert "2 of 8 files" in ended.sentence and "dataset.max_bad_fraction=0.05" in ended.sentence

    ended = read(files, tmp_path, "dataset.max_bad_fraction=0.3")
    assert ended.code == 0, ended.err
    listed = set_aside(runs(tmp_path)[-1])
    assert [(row["path"], row["key"]) for row in listed] == [("batch_train_8.h5", ""), ("batch_train_9.h5", "")]
    assert "not an HDF5 file" in listed[0]["reason"] and "cut short" in listed[1]["reason"]


def set_aside(folder):
    """Return the rows of set_aside.csv."""
    with (folder / "set_aside.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def harm(folder):
    """Spoil six samples of the first file, each in another way; return what should be said of each key."""
    expected = {}
    with h5py.File(folder / "batch_train_0.h5", "r+") as file:
        keys = sorted(file)[:6]
        del file[keys[0]].attrs["space_group"]
        expected[keys[0]] = "no 'space_group'"
        for key, group in ((keys[1], b"0"), (keys[2], b"231")):
            file[key].attrs["space_group"] = np.bytes_(group)
            expected[key] = "outside 1..230"
        del file[keys[3]]["cbed_stack"]
        file[keys[3]]["cbed_stack"] = np.zeros((2, 32, 32), np.float32)
        expected[keys[3]] = "the shape (2, 32, 32)"
        file[keys[4]]["cbed_stack"][1, 3, 4] = np.nan
        expected[keys[4]] = "NaN"
        del file[keys[5]].attrs["material"]
        expected[keys[5]] = "no 'material'"
    return expected


@pytest.mark.slow
def test_bad_samples_are_set_aside_counted_and_listed(files, tmp_path):
    expected = harm(files)
    ended = read(files, tmp_path)
    assert ended.code == 1
    assert " of 60 samples" in ended.sentence and "dataset.max_bad_fraction=0.05" in ended.sentence
    assert str(files) in ended.sentence and "sample_" in ended.sentence

    ended = read(files, tmp_path, "dataset.max_bad_fraction=0.2")
    assert ended.code == 0, ended.err
    folder = runs(tmp_path)[-1]
    listed = {row["key"]: row for row in set_aside(folder)}
    assert set(listed) == set(expected)
    for key, reason in expected.items():
        assert listed[key]["path"] == "batch_train_0.h5" and reason in listed[key]["reason"]
    assert result(folder)["set_aside"] == 6 and "6 samples were set aside" in ended.words
    with (folder / "split.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 54
    assert not {(row["path"], row["key"]) for row in rows} & {("batch_train_0.h5", key) for key in expected}


# --- what the machine does not have -----------------------------------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told_before_anything_is_made(tmp_path):
    ended = command(*TINY, "trainer=gpu", f"data_dir={tmp_path / 'data'}", cwd=tmp_path)
    assert ended.code == 2
    assert "no GPU" in ended.sentence and "trainer=cpu" in ended.sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "held"),
    [
        (("simulation.box=40",), "simulation.grid=64"),
        (("task=simulate", "simulation.grid=50"), "simulation.grid=50"),
        (("transform.pixels=64",), "transform.pixels=64"),
    ],
)
def test_settings_that_contradict_are_told_before_anything_is_made(arguments, held, tmp_path):
    ended = command("size=tiny", *arguments, f"data_dir={tmp_path / 'data'}", cwd=tmp_path)
    assert ended.code == 2
    assert held in ended.sentence
    assert not list(tmp_path.iterdir())


def limit_files(nbytes):
    """Return what makes every larger file of a process, and of those it starts, fail as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, nbytes))


@pytest.mark.slow
def test_a_disk_that_fills_up_while_simulating_is_told_and_then_gone_on_from(tiny_run, tmp_path):
    data = f"data_dir={tmp_path / 'data'}"
    ended = end(start(*TINY, data, cwd=tmp_path, preexec_fn=limit_files(300_000)))
    assert ended.code == 1
    assert ".h5 cannot be written" in ended.sentence and "free some space" in ended.sentence
    folder = only_run(tmp_path)
    assert result(folder)["status"] == "failed"
    assert not list((tmp_path / "data").rglob("*.h5"))
    assert command(f"resume={folder}", cwd=tmp_path).code == 0
    same = arrays(folder / "predictions_test.npz")["logits"]
    assert np.array_equal(same, arrays(tiny_run[0] / "predictions_test.npz")["logits"])


@pytest.mark.slow
def test_a_disk_that_fills_up_while_training_is_told_and_then_gone_on_from(tiny_run, tmp_path):
    ended = end(start(*TINY, cwd=tmp_path, preexec_fn=limit_files(4_000_000)))
    assert ended.code == 1
    assert "checkpoint" in ended.sentence and "free some space" in ended.sentence
    folder = only_run(tmp_path)
    assert result(folder)["status"] == "failed"
    assert command(f"resume={folder}", cwd=tmp_path).code == 0
    assert result(folder)["metrics"] == result(tiny_run[0])["metrics"]
    assert "error" not in result(folder)


def test_a_disk_with_too_little_room_is_told_before_simulating(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        ended = command(*TINY, f"data_dir={disk}", cwd=tmp_path)
    finally:
        subprocess.run(["umount", disk], check=True)
    assert ended.code == 1
    assert str(disk) in ended.sentence and "MB free" in ended.sentence


# --- data that are kept -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_data_of_other_settings_are_not_taken_for_ours(tiny_run, made_data, tmp_path):
    ended = command(*QUICK, "simulation.displacement=0.0", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert result(only_run(tmp_path))["data_fingerprint"] != result(tiny_run[0])["data_fingerprint"]
    again = command(*QUICK, cwd=tmp_path)
    assert again.code == 0, again.err
    assert "Simulating" not in again.out
    assert result(runs(tmp_path)[-1])["data_fingerprint"] == result(tiny_run[0])["data_fingerprint"]


@pytest.mark.slow
def test_a_file_of_ours_that_was_cut_is_made_again(tiny_run, tiny_files, tmp_path):
    folder = tmp_path / "data" / "crystals" / tiny_files.name
    shutil.copytree(tiny_files, folder)
    path = folder / "batch_train_1.h5"
    path.write_bytes(path.read_bytes()[:200_000])
    ended = command(*QUICK, f"data_dir={tmp_path / 'data'}", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "simulated again" in ended.words
    assert result(only_run(tmp_path))["data_fingerprint"] == result(tiny_run[0])["data_fingerprint"]


@pytest.mark.slow
def test_of_two_commands_that_need_the_same_data_one_makes_them(tmp_path):
    data = f"data_dir={tmp_path / 'data'}"
    config = Composer().check([*QUICK, data])
    folder = build(config.dataset).folder(simulation_recipe(config))
    folder.parent.mkdir(parents=True)
    with FileLock(f"{folder}.lock"):  # a third has it, until both wait
        processes = [start(*QUICK, data, cwd=tmp_path) for _ in range(2)]
        before = [read_until("simulating the same patterns: waiting", process) for process in processes]
        assert not any("Simulating" in said for said in before)
        assert not list(folder.glob("*.h5*"))
    ended = [end(process) for process in processes]
    assert [item.code for item in ended] == [0, 0], [item.err for item in ended]
    assert sorted("Simulating" in item.out for item in ended) == [False, True]
    first, second = (result(folder) for folder in runs(tmp_path))
    assert first["status"] == second["status"] == "finished"
    assert first["metrics"] == second["metrics"]


# --- task=simulate ----------------------------------------------------------------------------------------------------


ATTRIBUTES = {
    *("space_group", "material", "energy_keV", "z_dirs", "y_dirs", "semi_angles_rad", "d_hkls_angstrom"),
    *("abc_angstrom", "angles_degree", "formula"),
}
OURS = {"engine", "version", "q_pixel", "q_max", "thickness", "slice", "B", "seed", "uvw", "parent", "family"}


SALTS = [(cation, anion) for cation in ("Li", "Na", "K", "Rb") for anion in ("F", "Cl", "Br")]


def write_cifs(folder):
    """Write CIF files of twelve salts, as gemmi writes them, and a broken one."""
    import gemmi

    folder.mkdir()
    for number, salt in enumerate(SALTS):
        crystal = gemmi.SmallStructure()
        crystal.cell = gemmi.UnitCell(*[5.0 + 0.1 * number] * 3, 90, 90, 90)
        crystal.spacegroup_hm = "F m -3 m"
        for symbol, place in zip(salt, (0.0, 0.5), strict=True):
            site = gemmi.SmallStructure.Site()
            site.label, site.type_symbol, site.element = symbol, symbol, gemmi.Element(symbol)
            site.fract, site.occ = gemmi.Fractional(place, place, place), 1.0
            crystal.add_site(site)
        crystal.make_cif_block().write_file(str(folder / f"salt_{number}.cif"))
    (folder / "broken.cif").write_text("data_broken\n_cell_length_a five\nloop_\n")


@pytest.mark.slow
def test_crystals_of_cif_files_are_simulated_in_smc19s_layout_also_after_a_kill(tmp_path):
    write_cifs(tmp_path / "cifs")
    asked = ("task=simulate", "size=tiny", "task.source=cifs", f"task.cifs={tmp_path / 'cifs'}")
    asked += ("task.folder=out", "simulation.materials_per_file=2", "simulation.processes=1")

    def kill(cwd):
        process = start(*asked, cwd=cwd)
        wait_for(lambda: any((cwd / "out").glob("*.h5")), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kept = {path: path.stat().st_mtime_ns for path in (cwd / "out").glob("*.h5")}
        return (cwd, kept) if len(kept) < 6 else None

    tmp_path, kept = caught(kill, tmp_path)
    assert kept
    ended = command(*asked, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "broken.cif" in ended.words and "dataset=smc19" in ended.words
    alone = command(*asked, "task.folder=alone", cwd=tmp_path)
    assert alone.code == 0, alone.err
    assert digests(tmp_path / "out") == digests(tmp_path / "alone")
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    files = sorted((tmp_path / "out").glob("*.h5"))
    assert [path.name for path in files] == [f"batch_train_{number}.h5" for number in range(6)]
    assert not list((tmp_path / "out").glob("*.part"))
    assert "broken.cif,not readable as CIF" in (tmp_path / "out" / "unreadable.csv").read_text()
    assert not (tmp_path / "outputs").exists()

    materials = set()
    for path in files:
        with h5py.File(path, "r") as file:
            for key, sample in file.items():
                assert key.startswith("sample_") and set(sample) == {"cbed_stack", "sgexp"}
                stack = sample["cbed_stack"]
                assert stack.shape == (3, 32, 32) and stack.dtype == np.float32 and (stack[()] >= 0).all()
                assert 0.5 < stack[()].sum(dtype=np.float64) / 3 <= 1.001
                assert set(sample.attrs) == ATTRIBUTES
                assert sample.attrs["space_group"] == b"225" and isinstance(sample.attrs["material"], bytes)
                assert sample.attrs["energy_keV"] in range(100, 191, 10)
                assert sample.attrs["z_dirs"].shape == sample.attrs["y_dirs"].shape == (1, 3, 3)
                assert set(sample.attrs["formula"].split()) in [{f"{cation}4", f"{anion}4"} for cation, anion in SALTS]
                for name in ("semi_angles_rad", "d_hkls_angstrom", "abc_angstrom", "angles_degree"):
                    assert sample.attrs[name].shape == (3,) and (sample.attrs[name] > 0).all()
                assert set(sample["sgexp"].attrs) >= OURS
                materials.add(sample.attrs["material"])
    assert len(materials) == 12
