"""Bringing together what ranks have: what was evaluated, each sample once in catalog order, on every rank; sums."""

from __future__ import annotations

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor


def gather_by_row(rows_N: NDArray[np.int64], *arrays: NDArray) -> tuple[NDArray[np.int64], list[NDArray]]:
    """Return all ranks' ``rows`` in ascending order, and ``arrays`` (same first axis) in the order of those rows."""
    parts = [(rows_N, *arrays)]
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        gathered: list[tuple[NDArray, ...]] = [()] * dist.get_world_size()
        dist.all_gather_object(gathered, parts[0])
        parts = gathered  # type: ignore[assignment]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return columns[0][order], [column[order] for column in columns[1:]]


def sum_over_ranks(values: Tensor) -> Tensor:
    """Return the sum of a tensor over all ranks; every rank has to ask."""
    summed = values.clone()
    if dist.is_available() and dist.is_initialized():
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        summed = summed.to(device)
        dist.all_reduce(summed)
    return summed.cpu()
