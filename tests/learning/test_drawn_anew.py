"""Trainings whose draws are chosen anew every epoch."""

import numpy as np
import pytest
import torch

from sgexp.learning.schema import CallbacksConfig
from sgexp.sampling import online

from .plumbing import ArrayStore, config, make_data, weights
from .test_module import StopAt, fit, history, without_time

SAMPLERS = {
    "instance": online.instance,
    "sqrt": online.sqrt,
    "class_balanced": online.class_balanced,
    "progressive": lambda: online.progressive(3),
    "deferred": lambda: online.deferred(0.5, 3),
    "repeat_factor": lambda: online.repeat_factor(0.5),
    "m_per_class": lambda: online.m_per_class(4),
    "family_balanced": lambda: online.family_balanced("even"),
}
OFTEN = CallbacksConfig(progress=False, checkpoint_steps=1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_training_that_broke_off_within_an_epoch_ends_as_if_it_had_not(name, tmp_path):
    """To the bit, though its second and third epochs draw other samples than the first."""
    unequal = np.array([1, 1, 1, 2, 3])[ArrayStore().labels[:60]]
    plan = SAMPLERS[name]().plan(unequal, np.arange(60) // 2, None, 0)
    assert not np.array_equal(*(np.sort(plan.recipe.order(0, epoch, 60)) for epoch in (0, 2))) or name == "instance"
    _, whole = fit(tmp_path / "whole", callbacks=OFTEN, data=make_data(plan=plan), trainer=config())
    with pytest.raises(RuntimeError, match="crash"):
        fit(tmp_path / "stopped", callbacks=OFTEN, data=make_data(plan=plan), extra_callbacks=[StopAt(5)])
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    _, resumed = fit(tmp_path / "stopped", callbacks=OFTEN, data=make_data(plan=plan), resume=last)
    assert torch.equal(weights(resumed), weights(whole))
    assert without_time(history(tmp_path / "stopped")) == without_time(history(tmp_path / "whole"))
