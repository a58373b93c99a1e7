"""Last layers that name a space group step by step: its crystal system, its point group within that, then the group."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, POINT_GROUPS, SPACE_GROUPS, point_group_of
from sgexp.learning.models.heads import LAST, name_of_head, replace_head

_NEVER = -1e30  # the logit of what is not there; finite, so that its gradient is 0 and not undefined


class HierarchicalHead(nn.Module):
    """log P(group) = log P(system) + log P(point group | system) + log P(group | point group).

    A softmax at each step among what has a class at all, so the probabilities of a point group's groups sum to the
    point group's, those of a system's point groups to the system's, and those of the systems to 1. All three steps read
    the same features, each with a linear layer of its own, and cross-entropy is the sum of the steps'.
    """

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.steps = [len(CRYSTAL_SYSTEMS), len(POINT_GROUPS), n_classes]
        self.layer = nn.Linear(n_features, sum(self.steps))
        systems = {group.point_group: CRYSTAL_SYSTEMS.index(group.crystal_system) for group in SPACE_GROUPS}
        self.system: Tensor
        self.point_group: Tensor
        self.register_buffer("system", torch.tensor([systems[name] for name in POINT_GROUPS]), persistent=False)
        self.register_buffer("point_group", torch.zeros(n_classes, dtype=torch.int64))

    def name_classes(self, classes: Sequence[int]) -> None:
        """Say which space group each class is, (K,); kept with the weights."""
        self.point_group.copy_(torch.from_numpy(point_group_of.copy())[list(classes)])

    def log_probabilities(self, features_NF: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log P of the systems (N, 7), point groups (N, 32) and classes (N, K); what has no class: -1e30."""
        system_NS, point_NP, class_NK = self.layer(features_NF).float().split(self.steps, -1)
        ranges = [torch.arange(count, device=features_NF.device) for count in self.steps[:2]]
        class_in_point_PK = self.point_group == ranges[1][:, None]
        there_P = class_in_point_PK.any(1)
        point_in_system_SP = (self.system == ranges[0][:, None]) & there_P
        system_NS = system_NS.masked_fill(~point_in_system_SP.any(1), _NEVER).log_softmax(-1)
        point_NP = system_NS[:, self.system] + _among(point_NP, point_in_system_SP, self.system)
        point_NP = point_NP.masked_fill(~there_P, _NEVER)
        class_NK = point_NP[:, self.point_group] + _among(class_NK, class_in_point_PK, self.point_group)
        return system_NS, point_NP, class_NK

    def forward(self, features_NF: Tensor) -> Tensor:
        """Return logits (N, K), the logarithms of the classes' probabilities."""
        return self.log_probabilities(features_NF)[2]


LAST.append(HierarchicalHead)


def name_classes(network: nn.Module, classes: Sequence[int]) -> None:
    """Tell a network's hierarchical last layer, where it has one, which space group each class is, (K,)."""
    for module in network.modules():
        if isinstance(module, HierarchicalHead):
            module.name_classes(classes)


def _among(logits_NC: Tensor, member_GC: Tensor, group_C: Tensor) -> Tensor:
    """Return the log-softmax of each logit among the members of its group, (N, C)."""
    sums_NG = logits_NC[:, None].masked_fill(~member_GC, _NEVER).logsumexp(-1)
    return logits_NC - sums_NG[:, group_C]


def linear(*, network: nn.Module, n_classes: int) -> nn.Module:
    """Return the network as it is."""
    return network


def hierarchical(*, network: nn.Module, n_classes: int) -> nn.Module:
    """Return the network with its last layer replaced, in place."""
    old = network.get_submodule(name_of_head(network))
    assert isinstance(old, nn.Linear)
    return replace_head(network, HierarchicalHead(old.in_features, n_classes))
