"""Random numbers by counting: a hash of (seed, epoch, draw) on any device, so that a draw has its own numbers.

A generator object would hand out numbers in the order of asking, and a sample's numbers would depend on the batch and
the rank it landed in. The hash is SplitMix64 (Steele, Lea & Flood, OOPSLA 2014, doi:10.1145/2660193.2660195): integer
operations only, so the CPU and a GPU agree to the bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK_64 = 0xFFFFFFFFFFFFFFFF


def _signed(value: int) -> int:
    """Return the 64-bit pattern of ``value`` as the signed integer torch.int64 holds."""
    value &= _MASK_64
    return value - (1 << 64) if value >> 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Logical shift (torch's ``>>`` on int64 drags the sign along)."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def mix(bits: Tensor) -> Tensor:
    """Return SplitMix64's finaliser of int64 ``bits``: a bijection that scatters neighbouring counters."""
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_1
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_2
    return bits ^ _shift_right(bits, 31)


def draw_keys(seed: int, epoch: int, draws_B: Tensor) -> Tensor:
    """Return one int64 key for each draw of an epoch, (B,)."""
    start = torch.full((), _signed(seed), dtype=torch.int64, device=draws_B.device)
    return mix(mix(mix(start + _GOLDEN) + _signed(epoch * _GOLDEN)) + draws_B * _GOLDEN)


def uniform(keys_B: Tensor, count: int) -> Tensor:
    """Return ``count`` independent float32 numbers in [0, 1) for each key, (B, count)."""
    counters = torch.arange(1, count + 1, dtype=torch.int64, device=keys_B.device) * _GOLDEN
    return _shift_right(mix(keys_B[:, None] + counters), 40).to(torch.float32) * 2.0**-24
