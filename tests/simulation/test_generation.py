import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from filelock import FileLock

from sgexp.composition import Composer
from sgexp.config import known_keys
from sgexp.crystallography.crystal import Crystal
from sgexp.data.formats.smc19 import ATTRIBUTES, scan
from sgexp.data.samples import SampleHeader
from sgexp.errors import ConfigError, DataError
from sgexp.runs import FIELDS_ADDED_LATER, as_before
from sgexp.simulation import schema
from sgexp.simulation.generation import LOCK, energies_of, generate, settings_fingerprint
from sgexp.simulation.schema import SimulationConfig
from sgexp.tasks.prepare import simulation_recipe

from ..commands import caught, wait_for
from .crystals import diamond, quartz, silicon, strontium_titanate

CONFIG = SimulationConfig(
    grid=64, box=20.0, pixels=32, thickness=20.0, processes=1, materials_per_file=2, energies_per_material=2
)
CRYSTALS = [silicon(), quartz(), strontium_titanate()]


def contents(folder):
    values = {}
    for path in sorted(Path(folder).glob("*.h5")):
        with h5py.File(path) as file:
            for key, group in file.items():
                values[group.attrs["material"], int(group.attrs["energy_keV"])] = group["cbed_stack"][()]
                assert key.startswith("sample_")
    return values


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    return generate([*CRYSTALS, diamond()], folder, CONFIG, progress=False)


def test_folder_is_in_the_layout_of_smc19(generated):
    headers = [header for name in generated.files for header in scan(generated.folder / name)]
    assert all(isinstance(header, SampleHeader) for header in headers)
    assert len(headers) == generated.samples == 6
    with h5py.File(generated.folder / generated.files[0]) as file:
        group = next(iter(file.values()))
        assert set(group.attrs) == set(ATTRIBUTES)
        assert group["cbed_stack"].dtype == np.float32
        assert {
            "engine",
            "version",
            "q_pixel",
            "q_max",
            "thickness",
            "slice",
            "B",
            "seed",
            "uvw",
            "parent",
            "family",
        } <= set(group["sgexp"].attrs)


def test_samples_are_numbered_by_material_and_energy(generated):
    with h5py.File(generated.folder / generated.files[0]) as file:
        for key, group in file.items():
            assert group.attrs["energy_keV"] == 100 + 10 * int(key.split("_")[2])


def test_crystals_that_cannot_be_simulated_are_listed_with_the_reason(generated):
    assert [failure.material for failure in generated.failed] == ["diamond"]
    lines = (generated.folder / "failed.csv").read_text().splitlines()
    assert lines[0] == "material,family,space_group,reason"
    assert len(lines) == 2 and "only 2 X-ray reflections" in lines[1]


def test_values_do_not_depend_on_processes_or_files(generated, tmp_path):
    other = generate(CRYSTALS, tmp_path, replace(CONFIG, processes=2, materials_per_file=1), progress=False)
    assert len(other.files) == 3
    first, second = contents(generated.folder), contents(tmp_path)
    shared = first.keys() & second.keys()
    assert shared
    assert all(np.array_equal(first[key], second[key]) for key in shared)


def test_a_second_call_makes_nothing_again(generated):
    times = {path: path.stat().st_mtime_ns for path in generated.folder.glob("*.h5")}
    again = generate([*CRYSTALS, diamond()], generated.folder, CONFIG, progress=False)
    assert times == {path: path.stat().st_mtime_ns for path in generated.folder.glob("*.h5")}
    assert (again.samples, again.failed, again.files) == (generated.samples, generated.failed, generated.files)


def test_zones_that_the_engine_leaves_to_multislice_are_counted_aloud(tmp_path, capsys):
    engine = schema.TiltEngine(max_points=700)  # of quartz all zones, of silicon and SrTiO3 one each need more
    made = generate(CRYSTALS, tmp_path, replace(CONFIG, energies_per_material=1), engine)
    aside = []
    for name in made.files:
        with h5py.File(tmp_path / name) as file:
            aside += [left for group in file.values() for left in group["sgexp"].attrs["fallback"]]
    assert 0 < sum(aside) < len(aside) == 9
    said = " ".join(capsys.readouterr().out.split())
    assert f"{sum(aside)} of 9 zones were left to multislice: their cells are too large for tilt" in said
    generate(CRYSTALS, tmp_path, replace(CONFIG, energies_per_material=1), engine)
    assert "left to multislice" not in capsys.readouterr().out, "nothing was simulated"


def test_a_file_that_was_cut_after_it_was_finished_is_made_again(generated, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(generated.folder, folder)
    before = contents(folder)
    first, second = (folder / name for name in generated.files)
    made = first.stat().st_mtime_ns
    os.truncate(second, second.stat().st_size // 2)
    again = generate([*CRYSTALS, diamond()], folder, CONFIG, progress=False)
    assert "is cut short" in " ".join(capsys.readouterr().out.split())
    after = contents(folder)
    assert before.keys() == after.keys() and all(np.array_equal(before[key], after[key]) for key in before)
    assert first.stat().st_mtime_ns == made
    assert (again.samples, again.failed) == (generated.samples, generated.failed)


def test_another_version_of_the_engine_makes_other_data(monkeypatch):
    before = settings_fingerprint(CRYSTALS, CONFIG, CONFIG.engine)
    assert settings_fingerprint(CRYSTALS, replace(CONFIG, processes=7), CONFIG.engine) == before
    monkeypatch.setattr(schema, "ENGINE_VERSION", schema.ENGINE_VERSION + 1)
    assert settings_fingerprint(CRYSTALS, CONFIG, CONFIG.engine) != before


def test_data_of_other_settings_are_not_mixed(generated):
    with pytest.raises(DataError, match="other crystals or settings"):
        generate([*CRYSTALS, diamond()], generated.folder, replace(CONFIG, thickness=25.0), progress=False)
    with pytest.raises(DataError, match="other crystals or settings"):
        generate(CRYSTALS[:2], generated.folder, CONFIG, progress=False)


def test_coarse_sampling_is_refused_before_the_folder_is_touched(tmp_path):
    with pytest.raises(ConfigError, match="coarser than"):
        generate(CRYSTALS, tmp_path / "new", replace(CONFIG, grid=32), progress=False)
    assert not (tmp_path / "new").exists()


def test_two_crystals_of_one_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="two crystals are called 'Si'"):
        generate([silicon(), silicon()], tmp_path, CONFIG, progress=False)


def test_energies_are_chosen_by_seed_and_all_of_them_when_there_is_room():
    one = replace(CONFIG, energies_per_material=1)
    assert [energies_of(one, i) for i in range(20)] == [energies_of(one, i) for i in range(20)]
    assert len({energies_of(one, i) for i in range(50)}) > 5
    assert energies_of(replace(CONFIG, energies_per_material=10), 0) == tuple(CONFIG.energies_kev)


def test_a_second_job_waits_for_the_first_and_uses_its_data(tmp_path):
    lock = FileLock(tmp_path / LOCK)
    lock.acquire()
    results = []
    job = threading.Thread(
        target=lambda: results.append(generate(CRYSTALS[:1], tmp_path, CONFIG, progress=False)), daemon=True
    )
    job.start()
    time.sleep(1.0)
    assert not results and not list(tmp_path.glob("*.h5"))
    lock.release()
    job.join(timeout=600)
    assert results[0].samples == 2


SCRIPT = """
import sys
from dataclasses import replace
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.simulation.test_generation import CONFIG, CRYSTALS
from sgexp.simulation.generation import generate
if __name__ == "__main__":
    generate(CRYSTALS * 1, Path({folder!r}), replace(CONFIG, materials_per_file=1, **{settings!r}), progress=False)
"""


def start(root, tmp_path, folder, limit=None, **settings):
    script = tmp_path / "job.py"
    script.write_text(SCRIPT.format(root=str(root), folder=str(folder), settings=settings))
    small_files = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True, preexec_fn=small_files)


def test_a_killed_job_is_taken_up_where_it_stopped(root, tmp_path):
    slow = {"grid": 160, "box": 60.0, "thickness": 100.0, "energies_per_material": 4}

    def kill(folder):
        job = start(root, tmp_path, folder, **slow)
        wait_for(lambda: list(folder.glob("*.h5")), job)
        job.send_signal(signal.SIGKILL)
        job.communicate()
        whole = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.h5")}
        return (folder, whole) if len(whole) < 3 else None

    folder, whole = caught(kill, tmp_path)
    assert whole
    assert json.loads((folder / "manifest.json").read_text())["status"] == "unfinished"
    config = replace(CONFIG, materials_per_file=1, **slow)
    result = generate(CRYSTALS, folder, config, progress=False)
    assert result.samples == 12 and len(list(folder.glob("*.h5"))) == 3
    assert all((folder / name).stat().st_mtime_ns == made for name, made in whole.items())
    assert not list(folder.glob("*.part"))


def test_a_disk_that_fills_up_is_one_sentence(root, tmp_path):
    folder = tmp_path / "data"
    job = start(root, tmp_path, folder, limit=20_000)
    _, error = job.communicate(timeout=600)
    assert job.returncode != 0
    last = error.strip().splitlines()[-1]
    assert "DataError" in last and "cannot be written" in last and "free some space" in last
    assert not list(folder.glob("*.h5"))


def test_no_room_on_the_disk_is_said_before_anything_is_made(tmp_path, monkeypatch):
    usage = os.statvfs(tmp_path)
    assert usage.f_bavail > 0
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DataError, match="MB free: free some space"):
        generate(CRYSTALS, tmp_path, CONFIG, progress=False)
    assert not list(tmp_path.glob("*.h5"))


def test_what_came_later_leaves_old_data_and_runs_their_names():
    # Recorded before detectors were: a change here makes everybody simulate and train anew.
    cfg = Composer().check(["data_dir=data", "simulation=smc19"])
    recipe = json.dumps(simulation_recipe(cfg), sort_keys=True)
    assert hashlib.sha256(recipe.encode()).hexdigest()[:16] == "7003dd95f82cb2dd"
    salt = Crystal.from_arrays(
        np.eye(3) * 5.64, ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]], name="x", space_groups=(221, 221, 221)
    )
    assert settings_fingerprint([salt], cfg.simulation, cfg.simulation.engine) == "a7085c873b19bcb1"
    quick = Composer().check([]).simulation
    assert settings_fingerprint([salt], quick, quick.engine) == "d0d1024dcf02365a"


def test_data_in_which_zones_may_be_left_to_multislice_are_of_the_second_version():
    """They had frozen configurations there before, beside the others' mean."""

    def version(*words):
        config = Composer().check(list(words)).simulation
        return schema.engine_version(config, config.engine)

    assert version() == version("simulation=smc19") == version("simulation=blind") == 1
    assert version("simulation=blind", "simulation/engine=tilt_coarse") == version("simulation.thickness=500") == 2
    assert version("simulation/engine=tilt") == 3, "equivalent tilts are computed once"


def test_every_field_that_came_later_is_one_of_the_schemas():
    known = known_keys()
    for path, value in FIELDS_ADDED_LATER.items():
        assert path in known
        with_it = {"simulation": {}}
        *parents, name = path.split(".")
        node = with_it
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
        assert name not in json.dumps(as_before(with_it, ""))
        node[name] = "another"
        assert name in json.dumps(as_before(with_it, ""))
