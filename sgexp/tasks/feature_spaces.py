"""What samplers measure distances between: pooled patterns, radial profiles, components of them, a network's features.

Features are made of training rows alone; those of a network come from another run, which must not have been trained or
selected on what this run is tested on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from omegaconf import OmegaConf
from torch import Tensor

from sgexp.config import check
from sgexp.console import console, progress
from sgexp.data.packed import PackedStore
from sgexp.data.split import TEST_FAMILY, TEST_MATERIAL, Split
from sgexp.errors import DataError
from sgexp.evaluation.baselines import radial_profile
from sgexp.learning.models.heads import FeatureTap
from sgexp.run_config import read_run_config
from sgexp.sampling.features import FeatureRows
from sgexp.schema import build
from sgexp.tasks.prepare import Data, PooledFeatures, cache_folder
from sgexp.tasks.trained_run import TrainedRun

if TYPE_CHECKING:
    from sgexp.config import Config

COMPONENTS = 32  # principal components of the pooled patterns
_AT_ONCE = 1024
_BATCH = 64


def sampler_features(config: Config, data: Data, split: Split) -> FeatureRows:
    """Return the features of the training rows that the config's sampler measures distances between."""
    rows = split.rows("train")
    space = getattr(config.sampler, "features", "pooled")
    if space == "embedding":
        return embedding(config, data, split)
    if space == "radial":
        return RadialFeatures(data.store, rows)
    pooled = data.features(rows)
    return PrincipalFeatures(pooled) if space == "pca" else pooled


class RadialFeatures:
    """Radial profiles of some rows, (len, F) float32: means over rings, which no turn in the plane changes."""

    def __init__(self, store: PackedStore, rows: NDArray[np.int64]) -> None:
        self.store, self.rows = store, rows

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        parts = np.array_split(self.rows[chosen], max(1, -(-len(chosen) // _AT_ONCE)))
        return np.concatenate([radial_profile(self.store.read(part)) for part in parts])


class PrincipalFeatures:
    """The first principal components of pooled patterns, (len, at most 32) float32, found among all the rows."""

    def __init__(self, pooled: PooledFeatures) -> None:
        self.pooled = pooled
        blocks = np.array_split(np.arange(len(pooled)), max(1, -(-len(pooled) // _AT_ONCE)))
        width = pooled[blocks[0][:1]].shape[1]
        total, outer = np.zeros(width), np.zeros((width, width))
        for block in blocks:  # sums, so that the rows need not be in memory together
            x_BF = pooled[block].astype(np.float64)
            total, outer = total + x_BF.sum(0), outer + x_BF.T @ x_BF
        self.mean = total / len(pooled)
        _, vectors = np.linalg.eigh(outer / len(pooled) - np.outer(self.mean, self.mean))
        self.axes = vectors[:, ::-1][:, :COMPONENTS]

    def __getitem__(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        return ((self.pooled[chosen] - self.mean) @ self.axes).astype(np.float32)


def embedding(config: Config, data: Data, split: Split) -> NDArray[np.float32]:
    """Return what the last layer of another run's network is given for each training row, (N, F) float32.

    They are computed once and kept in the cache, under a name made of the weights, the data and the rows.
    """
    folder = str(config.sampler.run)  # type: ignore[attr-defined]
    others = check(OmegaConf.create(read_run_config(folder, "sampler.run")))
    trained = TrainedRun.open(dataclasses.replace(others, run=folder))
    refuse_leak(trained, data, split, folder)
    if (theirs := build(others.transform)).digest() != data.transform.digest():
        raise DataError(
            f"sampler.run={folder} was trained on patterns of {theirs.pixels} pixels in the code '{theirs.code}', "
            f"this run reads {data.transform.pixels} in '{data.transform.code}': give a run of the same"
        )
    rows = split.rows("train")
    name = hashlib.sha256(
        hashlib.sha256(trained.checkpoint.read_bytes()).digest() + data.catalog.fingerprint.encode() + rows.tobytes()
    ).hexdigest()[:24]
    path = cache_folder(config) / "embeddings" / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # the other processes of a distributed run wait for the first
        if not path.is_file():
            part = path.with_suffix(".part")
            with part.open("wb") as stream:
                np.save(stream, _computed(trained, theirs.standardise, data.store, rows))
            os.replace(part, path)
    console.print(f"[bold]sampler[/bold] features of {trained.checkpoint} of {len(rows):,} training samples")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def refuse_leak(trained: TrainedRun, data: Data, split: Split, folder: str) -> None:
    """Refuse a network that has seen what this run is tested on: its features would tell of the test."""
    known, catalog = trained.trained_on(), data.catalog
    tested = split.part >= TEST_MATERIAL
    materials = np.intersect1d(catalog.material[tested], list(known.materials))
    families = np.intersect1d(catalog.family[split.part == TEST_FAMILY], list(known.families))
    comparable = catalog.family_is_proxy == known.proxies
    if len(materials) or (comparable and len(families)):
        raise DataError(
            f"sampler.run={folder} was trained or selected on {len(materials):,} materials and {len(families):,} "
            "families that this run is tested on: its features would leak. Train it with this run's dataset and split"
        )


@torch.inference_mode()
def _computed(
    trained: TrainedRun, standardise: Callable[[Tensor], Tensor], store: PackedStore, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    network = trained.network.network
    tap, found = FeatureTap(network), []
    with progress(transient=True) as bar:
        task = bar.add_task("features of the network", total=len(rows))
        for start in range(0, len(rows), _BATCH):
            coded = torch.from_numpy(store.read(rows[start : start + _BATCH]))
            network(standardise(coded))
            found.append(tap.features(len(coded)).float().numpy())
            bar.update(task, completed=start + len(coded))
    tap.remove()
    return np.concatenate(found)
