"""Batches in random order from the packed store, against reading each sample from HDF5 and from its own .npz file.

Four ways give the same batches, equal to the bit (checked), of (64, 3, p, p) float32 patterns and class indices:

- packed: the packed store (half precision, memory-mapped) through PatternDataModule, a batch in one read;
- hdf5, kept open: SMC-19's layout, h5py, a sample at a time, each process keeping its files open;
- hdf5, opened: the same, the file opened for each sample;
- npz: one .npz a sample with ``data`` and ``label``, np.load in a Dataset, as STEMDL's copy of the data is read.

The last three are a torch Dataset and DataLoader with its own collating. Pixels are stored as they are wanted, so
nobody codes or resizes while reading: from the original files (512 pixels, intensities) the others would have to, each
epoch, where packing did it once. The epochs take turns. The floor is reading a way's files from end to end, in order.

The page cache: files were written just before and are read again and again, so unless memory is short they come from
memory, not from the disk; what is compared is the processor's work. With --cold (no workers) the files are dropped
from the page cache before each epoch; "disk MB" says what was then really read from the disk. A virtual disk may still
have them in its host's memory.

    python benchmarks/loading.py [--samples 1000] [--pixels 64|128|512] [--workers 0 2] [--cold] [--folder DIR]
    python benchmarks/loading.py --quick     # few samples and epochs
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import psutil
from common import Table, in_turns, machine, medians
from torch.utils.data import DataLoader, Dataset

from sgexp.crystallography.groups import SPACE_GROUPS
from sgexp.data.catalog import Catalog, build_catalog
from sgexp.data.formats.smc19 import STACK, Writer
from sgexp.data.packed import PackedStore
from sgexp.data.packing import PATTERNS_FILE
from sgexp.data.transforms import Transform
from sgexp.loading.datamodule import PatternDataModule
from sgexp.loading.samplers import TrainingBatches
from sgexp.sampling.plan import ResamplingPlan

SEED = 1
BATCH = 64
ENERGIES = 10  # samples a material
FILE_SAMPLES = 250  # in one HDF5 file
COLUMNS: list[tuple[str, int] | str] = [
    *(("way", 16), ("MB", 6), "|", ("samples/s", 9), ("cpu ms", 7), "|"),
    *(("disk MB", 7), ("of floor", 8), "|", ("ratio", 7), ("of cpu", 7)),
]


class Files:
    """The same samples in the three layouts, below one folder."""

    def __init__(self, folder: Path, samples: int, pixels: int) -> None:
        begin = time.perf_counter()
        self.hdf5 = write_hdf5(folder / "hdf5", samples, pixels)
        self.catalog = build_catalog(folder / "hdf5", folder / "cache", progress=False, processes=1)
        written = time.perf_counter()
        # Every pattern's largest value is 1 and half precision holds all of them: this code changes nothing.
        transform = Transform(code="none", exponent=1.0, pixels=pixels, standardise=True)
        self.store = PackedStore.build(self.catalog, transform, folder / "cache", progress=False)
        packed = time.perf_counter()
        self.npz = write_npz(folder / "npz", self.catalog)
        self.packed = [self.store.folder / PATTERNS_FILE]
        os.sync()  # or writing would go on behind the measurement
        print(f"made in {written - begin:.1f} s; packing took {packed - written:.1f} s, once")


def write_hdf5(folder: Path, samples: int, pixels: int) -> list[Path]:
    """Write random samples in SMC-19's layout."""
    rng = np.random.default_rng(SEED)
    paths: list[Path] = []
    for start in range(0, samples, FILE_SAMPLES):
        paths.append(folder / f"batch_train_{len(paths)}.h5")
        with Writer(paths[-1]) as writer:
            for number in range(start, min(start + FILE_SAMPLES, samples)):
                material, energy = divmod(number, ENERGIES)
                patterns = rng.random((3, pixels, pixels), dtype=np.float32).astype(np.float16).astype(np.float32)
                patterns[:, pixels // 2, pixels // 2] = 1.0
                attributes = {
                    "space_group": 1 + material % len(SPACE_GROUPS),
                    "material": f"material {material}",
                    "energy_keV": 100 + 10 * energy,
                    "z_dirs": np.eye(3),
                    "y_dirs": np.roll(np.eye(3), 1, axis=0),
                    "semi_angles_rad": [0.004, 0.005, 0.006],
                    "d_hkls_angstrom": [2.0, 1.9, 1.8],
                    "abc_angstrom": [3.0, 4.0, 5.0],
                    "angles_degree": [90.0, 100.0, 90.0],
                    "formula": "Fe8 O14 F2",
                }
                writer.add(f"sample_{material}_{energy}", patterns, attributes)
    return paths


def write_npz(folder: Path, catalog: Catalog) -> list[Path]:
    """Write each catalog row as its own file, uncompressed (the quickest to read), labels 1..230."""
    folder.mkdir()
    paths = [folder / f"{row:06d}.npz" for row in range(len(catalog))]
    samples = SamplesOfHDF5(catalog, kept_open=True)
    for path, (patterns, label) in zip(paths, (samples[row] for row in range(len(catalog))), strict=True):
        np.savez(path, data=patterns, label=np.array([label + 1]))
    return paths


class SamplesOfHDF5(Dataset):
    """Samples read one by one with h5py; labels are known beforehand, which spares reading the attribute."""

    def __init__(self, catalog: Catalog, kept_open: bool) -> None:
        self.catalog, self.kept_open = catalog, kept_open
        self.files: dict[str, h5py.File] = {}  # each worker process opens its own

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        """Return the patterns and the class index of a catalog row."""
        path, key = self.catalog.path[row], self.catalog.key[row]
        if self.kept_open:
            if path not in self.files:
                self.files[path] = h5py.File(self.catalog.root / path, "r")
            patterns = self.files[path][key][STACK][()]
        else:
            with h5py.File(self.catalog.root / path, "r") as file:
                patterns = file[key][STACK][()]
        return patterns, int(self.catalog.space_group[row]) - 1


class SamplesOfNPZ(Dataset):
    """Samples read one by one from files of their own."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __getitem__(self, row: int) -> tuple[np.ndarray, int]:
        """Return the patterns and the class index of a catalog row."""
        with np.load(self.paths[row]) as sample:
            return sample["data"], int(sample["label"][0]) - 1


class Floor:
    """Reading files from end to end, in order, and nothing else."""

    def __init__(self, paths: Sequence[Path], cold: bool) -> None:
        self.paths, self.cold = paths, cold
        self.nbytes = sum(path.stat().st_size for path in paths)
        self.disk_bytes: list[int] = []

    def prepare(self) -> None:
        """Before a cold epoch, drop the files from the page cache."""
        for path in self.paths if self.cold else ():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def run(self, epoch: int) -> None:
        """Go through the data once; the first time nothing is noted."""
        before = disk_bytes()
        self.load(epoch)
        if epoch:
            self.disk_bytes.append(disk_bytes() - before)

    def load(self, epoch: int) -> None:
        """Read every file into the same megabyte of memory."""
        buffer = memoryview(bytearray(1 << 20))
        for path in self.paths:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


class Way(Floor):
    """A way to load batches from files; ``make`` gives its loader."""

    def __init__(self, make: Callable[[], DataLoader], paths: Sequence[Path], cold: bool) -> None:
        super().__init__(paths, cold)
        self.make, self.loader, self.checksum = make, make(), 0

    def load(self, epoch: int) -> None:
        """Load all batches of an epoch; the first one takes their checksum."""
        batches = self.loader.batch_sampler
        assert isinstance(batches, TrainingBatches)
        batches.set_epoch(epoch)
        for batch in self.loader:
            patterns, labels = (batch["patterns"], batch["label"]) if isinstance(batch, dict) else batch
            if not epoch:
                self.checksum = zlib.crc32(labels.numpy(), zlib.crc32(patterns.numpy(), self.checksum))
        if self.cold:
            self.loader = self.make()  # the old one's open files and maps would keep pages in memory


def disk_bytes() -> int:
    """Return what this process and its children have read from the disk (0 where the system does not tell)."""
    process = psutil.Process()
    if not hasattr(process, "io_counters"):
        return 0
    return sum(one.io_counters().read_bytes for one in [process, *process.children(recursive=True)])


def make_ways(files: Files, workers: int, cold: bool) -> dict[str, Way]:
    """Return the four ways; all draw the same rows in the same order."""
    catalog, rows = files.catalog, np.arange(len(files.catalog))

    def packed() -> DataLoader:
        store = files.store.take(rows)  # with a memory map of its own
        plan = ResamplingPlan(rows, rows, np.zeros(len(rows)), "none")
        classes = catalog.space_group.astype(np.int64) - 1
        sizes = {"batch_size": BATCH, "eval_batch_size": BATCH}
        return PatternDataModule(store, classes, {}, plan, workers=workers, seed=SEED, **sizes).train_dataloader()

    def loader(dataset: Dataset) -> DataLoader:
        batches = TrainingBatches(len(rows), BATCH, SEED)
        return DataLoader(dataset, batch_sampler=batches, num_workers=workers, persistent_workers=workers > 0)

    return {
        "packed": Way(packed, files.packed, cold),
        "hdf5, kept open": Way(lambda: loader(SamplesOfHDF5(catalog, kept_open=True)), files.hdf5, cold),
        "hdf5, opened": Way(lambda: loader(SamplesOfHDF5(catalog, kept_open=False)), files.hdf5, cold),
        "npz": Way(lambda: loader(SamplesOfNPZ(files.npz)), files.npz, cold),
    }


def compare(files: Files, workers: int, epochs: int, cold: bool) -> None:
    """Let the ways and the floors take turns and print a row for each."""
    ways = make_ways(files, workers, cold)
    floors = {
        "floor of packed": Floor(files.packed, cold),
        "floor of hdf5": Floor(files.hdf5, cold),
        "floor of npz": Floor(files.npz, cold),
    }
    everything = ways | floors
    seconds = in_turns({name: (way.prepare, way.run) for name, way in everything.items()}, epochs)
    if len({way.checksum for way in ways.values()}) > 1:
        raise SystemExit("The ways gave different batches: their times cannot be compared.")
    print(f"\n{workers} workers, {'cold' if cold else 'warm'}, medians of {epochs} epochs, batches identical")
    table = Table(*COLUMNS)
    samples = len(files.catalog)
    per_sample = {  # what does not fill a last batch is left out of an epoch
        name: medians(measured) / (samples // BATCH * BATCH if name in ways else samples)
        for name, measured in seconds.items()
    }
    for name, way in everything.items():
        floor = next(other for other in floors if floors[other].paths is way.paths)
        clock, cpu = per_sample[name]
        numbers = [f"{way.nbytes / 1e6:.0f}", f"{1 / clock:,.0f}", f"{1e3 * cpu:.3f}"]
        numbers += [f"{np.median(way.disk_bytes) / 1e6:.0f}", f"{per_sample[floor][0] / clock:.0%}"]
        table.row(name, *numbers, *(f"{ratio:.2f}x" for ratio in per_sample[name] / per_sample["packed"]))


def main() -> None:
    """Write the files, measure every number of workers and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000, help="how many samples (64 at least)")
    parser.add_argument("--pixels", type=int, choices=(64, 128, 512), default=128)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="loading processes, one table for each")
    parser.add_argument("--epochs", type=int, default=7, help="measured epochs of each way; the median counts")
    parser.add_argument("--cold", action="store_true", help="drop the files from the page cache before each epoch")
    parser.add_argument("--folder", type=Path, help="where to make the files (default: the system's temporary folder)")
    parser.add_argument("--quick", action="store_true", help="128 samples of 64 pixels, 3 epochs")
    asked = parser.parse_args()
    if asked.quick:
        asked.samples, asked.pixels, asked.epochs = 128, 64, 3
    if asked.samples < BATCH:
        parser.error(f"--samples must be {BATCH} or more, so that a batch is full")
    if asked.cold and not hasattr(os, "posix_fadvise"):
        parser.error("--cold needs posix_fadvise, which this system lacks")
    print(f"machine: {machine('numpy', 'h5py', 'torch')}")
    print(f"{asked.samples} samples of 3 x {asked.pixels} x {asked.pixels}, batches of {BATCH}")
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        files = Files(Path(folder), asked.samples, asked.pixels)
        for workers in [0] if asked.cold else asked.workers:
            compare(files, workers, asked.epochs, asked.cold)
    print("\nratio: time a sample over that of packed, by the clock and in processor time; cpu ms: a sample's")


if __name__ == "__main__":
    main()
