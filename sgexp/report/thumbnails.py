"""Stacks of patterns as small pictures that stand inside a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

_GAP = 2  # pixels between the patterns of a stack
_PALETTE = (np.asarray(colormaps["inferno"](np.arange(256)))[:, :3] * 255).round().astype(np.uint8).tobytes()


def data_uri(stack_CHW: np.ndarray, like: np.ndarray | None = None) -> str:
    """Return a stack (C, H, W) uint8 as a PNG with its patterns side by side, as a data URI.

    The colours span the stack's values, or those of the stacks ``like``, so that several can be compared.
    """
    like = stack_CHW if like is None else like
    low, high = (float(end) for end in (like.min(), max(like.max(), like.min() + 1))) if like.size else (0.0, 255.0)
    stack_CHW = ((stack_CHW - low) * (255 / (high - low))).clip(0, 255).astype(np.uint8)
    channels, height, width = stack_CHW.shape
    canvas = np.zeros((height, channels * (width + _GAP) - _GAP), np.uint8)
    for index, pattern in enumerate(stack_CHW):
        start = index * (width + _GAP)
        canvas[:, start : start + width] = pattern
    image = Image.fromarray(canvas, mode="L")
    image.putpalette(_PALETTE)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
