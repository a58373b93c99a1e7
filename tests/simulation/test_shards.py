"""Many jobs make one folder: whatever their number, and whenever they are killed, it becomes the folder of one job."""

import multiprocessing
import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from sgexp.errors import DataError
from sgexp.simulation.generation import generate, read_failures
from sgexp.simulation.schema import SimulationConfig
from sgexp.simulation.shards import WHOLE, Shard

from ..commands import digests
from .crystals import diamond, quartz, silicon, strontium_titanate, triclinic

CONFIG = SimulationConfig(grid=64, box=20.0, pixels=32, thickness=20.0, processes=1, materials_per_file=1)
CRYSTALS = [silicon(), diamond(), quartz(), strontium_titanate(), triclinic()]
KILLS, JOBS = 20, 4

# What jobs are killed in: enough files that none of them is ever done, each long enough to be hit.
SLOW = replace(CONFIG, grid=128, box=50.0, thickness=100.0, energies_per_material=2)
MANY = [replace(crystal, name=f"{crystal.name}-{copy}") for copy in range(12) for crystal in CRYSTALS]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    generate(CRYSTALS, folder, CONFIG, progress=False)
    return digests(folder)


def test_shards_make_together_what_one_job_makes(undisturbed, tmp_path):
    made = [generate(CRYSTALS, tmp_path, CONFIG, progress=False, shard=Shard(n, 3)) for n in (2, 3, 1)]
    assert [len(one.files) for one in made] == [2, 1, 2]
    assert [one.missing for one in made] == [3, 2, 0]
    assert sum(one.samples for one in made) == 4 and sum(one.materials for one in made) == 4
    assert [[failure.material for failure in one.failed] for one in made] == [["diamond"], [], []]
    assert digests(tmp_path) == undisturbed and "failed.csv" in undisturbed
    assert not list(tmp_path.glob(".failed_*")) and not list(tmp_path.glob(".*.h5.lock"))


def test_failures_are_known_before_the_last_shard_has_ended(tmp_path):
    generate(CRYSTALS, tmp_path, CONFIG, progress=False, shard=Shard(2, 3))
    assert not (tmp_path / "failed.csv").exists()
    assert [(failure.material, failure.space_group) for failure in read_failures(tmp_path)] == [("diamond", 227)]


def test_a_job_without_shard_ends_what_shards_began(undisturbed, tmp_path):
    generate(CRYSTALS, tmp_path, CONFIG, progress=False, shard=Shard(2, 5))
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.h5")}
    assert generate(CRYSTALS, tmp_path, CONFIG, progress=False).missing == 0
    assert all(path.stat().st_mtime_ns == made for path, made in times.items())
    assert digests(tmp_path) == undisturbed


def test_shards_are_disjoint_and_complete():
    names = [f"{n}" for n in range(23)]
    for count in (1, 2, 7, 23):
        shares = [Shard(n, count).share(names) for n in range(1, count + 1)]
        assert sorted(name for share in shares for name in share) == sorted(names)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert Shard.parse("3/40") == Shard(3, 40) and Shard.parse(None) is WHOLE and str(Shard(3, 40)) == "3/40"


def test_more_shards_than_files_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"shard 6/6 has nothing to make: there are 5 files; ask for 5 shards"):
        generate(CRYSTALS, tmp_path, CONFIG, progress=False, shard=Shard(6, 6))


def start(folder, number):
    """Start one job of the array in a process group of its own."""
    job = multiprocessing.get_context("fork").Process(target=work, args=(folder, number))  # saves importing torch
    job.start()
    os.setpgid(job.pid, job.pid)  # here and there: neither need wait for the other
    return job


def work(folder, number):
    os.setpgid(0, 0)
    generate(MANY, folder, SLOW, progress=False, shard=Shard(number, JOBS))


def kill(folder, jobs, files, choose):
    """Kill the jobs one after the other; return what each kill found: files begun, files whole. Jobs that ended before
    theirs are left out."""
    found = []
    for job in choose.sample(jobs, len(jobs)):
        time.sleep(choose.uniform(0.0, 0.3))
        writing = len(list(folder.glob("*.h5.part")))
        with suppress(ProcessLookupError):
            if choose.random() < 0.5:
                os.kill(job.pid, signal.SIGKILL)  # its worker lives on until it notices
            else:
                os.killpg(job.pid, signal.SIGKILL)
        whole = digests(folder, "*.h5")  # of all files some would be renamed by other jobs before they are read
        assert whole.items() <= files.items(), "a file under its final name is not whole"
        job.join()
        assert job.exitcode in (0, -signal.SIGKILL)
        if job.exitcode:
            found.append((writing, len(whole)))
    return found


@pytest.mark.slow
def test_shards_killed_at_twenty_moments_are_whole_or_absent_and_end_as_an_undisturbed_job(tmp_path):
    generate(MANY, tmp_path / "one", SLOW, progress=False)
    expected = digests(tmp_path / "one")
    files = {name: digest for name, digest in expected.items() if name.endswith(".h5")}
    assert len(files) == 60 and "failed.csv" in expected
    moments, choose, arrays = [], random.Random(1), 0
    while len(moments) < KILLS:  # a machine may be so fast that an array ends before it was killed often enough
        arrays += 1
        assert arrays <= 5, f"jobs end before they are killed: {moments}"
        folder = tmp_path / f"shards{arrays}"
        while len(moments) < KILLS and len(list(folder.glob("*.h5"))) < len(files) - JOBS:
            jobs = [start(folder, number) for number in range(1, JOBS + 1)]
            until, before = time.monotonic() + 480, set(folder.glob("*.h5.part"))
            while set(folder.glob("*.h5.part")) <= before and time.monotonic() < until:
                if not any(job.is_alive() for job in jobs):
                    break
                time.sleep(0.01)
            moments += kill(folder, jobs, files, choose)
        jobs = [start(folder, number) for number in range(1, JOBS + 1)]
        for job in jobs:
            job.join()
        assert [job.exitcode for job in jobs] == [0] * JOBS
        assert digests(folder) == expected
        assert {path.name for path in folder.iterdir() if path.name.startswith(".")} <= {".generating.lock"}
    assert any(writing for writing, _ in moments), f"no kill came while a file was written: {moments}"
