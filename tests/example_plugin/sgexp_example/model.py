"""A model: standardised patterns (B, 3, p, p) in, logits (B, K) out."""

from __future__ import annotations

from torch import Tensor, nn


class Linear(nn.Module):
    """Shrinks the three patterns to ``pixels`` x ``pixels`` and weighs them; sgexp adds ``n_classes``."""

    def __init__(self, pixels: int, *, n_classes: int) -> None:
        super().__init__()
        self.shrink = nn.AdaptiveAvgPool2d(pixels)
        self.weigh = nn.Linear(3 * pixels**2, n_classes)

    def forward(self, patterns_BCHW: Tensor) -> Tensor:
        """Return logits (B, K)."""
        return self.weigh(self.shrink(patterns_BCHW).flatten(1))
