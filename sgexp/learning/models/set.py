"""A network for a set of patterns: any number of them, in any order, and they may look at one another.

One encoder turns each pattern into features. Layers of self-attention between the patterns of a crystal (no positions,
so that order means nothing: Lee et al., "Set Transformer", ICML 2019, arXiv:1810.00825) let what one zone axis shows
change how another is read. Gated attention (Ilse, Tomczak, Welling, "Attention-based Deep Multiple Instance
Learning", ICML 2018, arXiv:1802.04712, equation 9) then weighs the patterns and adds them up.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgexp.learning.models.patterns import Encoder
from sgexp.learning.models.small import SmallEncoder


class GatedAttention(nn.Module):
    """The weighted sum of a set's members, weights softmax(w . (tanh(V h) * sigmoid(U h))) over the set."""

    def __init__(self, n_features: int, n_hidden: int) -> None:
        super().__init__()
        self.V = nn.Linear(n_features, n_hidden)
        self.U = nn.Linear(n_features, n_hidden)
        self.w = nn.Linear(n_hidden, 1, bias=False)  # the softmax would not see a bias

    def weights(self, members_BCF: Tensor) -> Tensor:
        """Return each member's share, (B, C), 0..1, which sum to 1 over the set."""
        return self.w(self.V(members_BCF).tanh() * self.U(members_BCF).sigmoid()).squeeze(-1).softmax(-1)

    def forward(self, members_BCF: Tensor) -> Tensor:
        """Return a set's features (B, F)."""
        return (self.weights(members_BCF).unsqueeze(-1) * members_BCF).sum(1)


class SelfAttention(nn.Module):
    """A layer of attention between the members of a set, then one on each by itself, both added to what came in."""

    def __init__(self, n_features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_between, self.norm_each = nn.LayerNorm(n_features), nn.LayerNorm(n_features)
        self.queries_keys_values = nn.Linear(n_features, 3 * n_features)
        self.out = nn.Linear(n_features, n_features)
        self.each = nn.Sequential(
            nn.Linear(n_features, 2 * n_features), nn.GELU(), nn.Linear(2 * n_features, n_features)
        )

    def forward(self, members_BCF: Tensor) -> Tensor:
        """Return the members' new features (B, C, F)."""
        qkv = self.queries_keys_values(self.norm_between(members_BCF))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, -1))
        # Written out: sets are small, and the fused kernels' gradients are not deterministic on every device.
        shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        members_BCF = members_BCF + self.out((shares @ v).transpose(1, 2).flatten(2))
        return members_BCF + self.each(self.norm_each(members_BCF))


class SetClassifier(nn.Module):
    """An encoder of single patterns, attention over the patterns of a crystal, and a linear head.

    Parameters
    ----------
    encoder : takes one channel.
    n_classes : length of the answer.
    layers : how many layers of self-attention between the patterns; 0: they meet in the weighted sum only.
    heads : of self-attention; divides the encoder's ``n_features``.
    hidden : hidden units of the gated attention.
    dropout : probability that a feature is dropped before the head.
    """

    patterns = "shared"

    def __init__(
        self, encoder: Encoder, n_classes: int, *, layers: int, heads: int, hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.between = nn.Sequential(*(SelfAttention(encoder.n_features, heads) for _ in range(layers)))
        self.attention = GatedAttention(encoder.n_features, hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.n_features, n_classes)

    def members(self, patterns_BCHW: Tensor) -> Tensor:
        """Return the features of each pattern, (B, C, F), after they have looked at one another."""
        batch, count = patterns_BCHW.shape[:2]
        features = self.encoder(patterns_BCHW.reshape(batch * count, 1, *patterns_BCHW.shape[2:]))
        return self.between(features.unflatten(0, (batch, count)))

    def forward(self, patterns_BCHW: Tensor) -> Tensor:
        """Return logits (B, K) of patterns (B, C, H, W), whatever C is."""
        return self.head(self.dropout(self.attention(self.members(patterns_BCHW))))

    @torch.inference_mode()
    def weights(self, patterns_BCHW: Tensor) -> Tensor:
        """Return how much each pattern counts, (B, C)."""
        return self.attention.weights(self.members(patterns_BCHW))


def set_net(
    width: int,
    blocks: int,
    norm: str,
    dropout: float,
    layers: int,
    heads: int,
    hidden: int,
    *,
    n_classes: int,
) -> SetClassifier:
    """Return a classifier of sets of patterns with the small encoder."""
    encoder = SmallEncoder(1, width, blocks, norm)
    return SetClassifier(encoder, n_classes, layers=layers, heads=heads, hidden=hidden, dropout=dropout)
