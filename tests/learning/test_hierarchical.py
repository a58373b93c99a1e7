"""Answers that are consistent from crystal system to point group to space group."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sgexp.composition import Composer
from sgexp.crystallography.groups import CRYSTAL_SYSTEMS, POINT_GROUPS, crystal_system_of, point_group_of
from sgexp.errors import ConfigError
from sgexp.evaluation.levels import level_probabilities
from sgexp.learning.models.heads import head_of
from sgexp.learning.models.hierarchical import HierarchicalHead
from sgexp.tasks.trained_run import network_builder

SOME = [2, 14, 15, 62, 76, 78, 194, 225, 227]


def head(classes=SOME, n_features=6):
    torch.manual_seed(3)
    made = HierarchicalHead(n_features, len(classes))
    made.name_classes(classes)
    return made


@pytest.mark.parametrize("classes", [SOME, list(range(1, 231))], ids=["some", "all"])
def test_children_sum_to_their_parents_and_systems_to_one(classes):
    levels = [part.exp().double() for part in head(classes).log_probabilities(torch.randn(5, 6))]
    systems, points, groups = levels
    torch.testing.assert_close(systems.sum(1), torch.ones(5).double(), atol=1e-6, rtol=0)
    found = level_probabilities(groups.detach().numpy(), np.array(classes))  # evaluation's own sums
    np.testing.assert_allclose(found["point_group"], points.detach(), atol=1e-6)
    np.testing.assert_allclose(found["crystal_system"], systems.detach(), atol=1e-6)


def test_two_groups_by_hand():
    made = head([2, 14, 15])  # -1 is triclinic; 2/m, with 14 and 15, monoclinic
    x = torch.randn(4, 6)
    system, point, group = made.layer(x).split([7, 32, 3], -1)
    two = torch.stack([system[:, CRYSTAL_SYSTEMS.index(name)] for name in ("triclinic", "monoclinic")], 1).softmax(1)
    within = group[:, 1:].softmax(1)
    expected = torch.stack([two[:, 0], two[:, 1] * within[:, 0], two[:, 1] * within[:, 1]], 1)
    torch.testing.assert_close(made(x).exp(), expected)
    assert point.shape[1] == len(POINT_GROUPS), "2/m is the only point group of its system here: it has all of it"


def test_cross_entropy_is_the_sum_of_the_steps_and_teaches_all_of_them():
    made, x, labels = head(), torch.randn(8, 6), torch.arange(8)
    logits = made(x)
    systems, points, _ = made.log_probabilities(x)
    numbers = torch.tensor(SOME)[labels]
    point = torch.from_numpy(point_group_of.copy())[numbers]
    system = torch.from_numpy(crystal_system_of.copy())[numbers]
    rows = torch.arange(8)
    of_system, of_point, of_class = systems[rows, system], points[rows, point], logits[rows, labels]
    steps = -of_system, of_system - of_point, of_point - of_class
    torch.testing.assert_close(F.cross_entropy(logits, labels), sum(step.mean() for step in steps))
    F.cross_entropy(logits, labels).backward()
    gradient = made.layer.weight.grad
    assert gradient.isfinite().all()
    there = gradient.abs().sum(1) > 0
    assert there[:7].sum() == len(set(crystal_system_of[SOME].tolist()))
    assert not there[7:39].any(), "every system has a single point group here"
    assert there[39:].sum() == 6, "three pairs share a point group; the other three groups are alone in theirs"


def test_a_network_answers_step_by_step_and_comes_back_from_its_weights():
    config = Composer().check(["head=hierarchical", "model.width=4", "model.pool=logits"])
    network = network_builder(config)(len(SOME)).eval()
    assert isinstance(head_of(network), HierarchicalHead)
    head_of(network).name_classes(SOME)
    patterns = torch.randn(2, 3, 16, 16)
    again = network_builder(config)(len(SOME)).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(patterns), network(patterns))
    plain = network_builder(Composer().check(["model.width=4"]))(len(SOME))
    assert isinstance(head_of(plain), nn.Linear)


def test_cosines_cannot_be_answered_step_by_step():
    with pytest.raises(ConfigError, match="cosines cannot replace it"):
        network_builder(Composer().check(["head=hierarchical", "loss=ldam", "model.width=4"]))(5)
