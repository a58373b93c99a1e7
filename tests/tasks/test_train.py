"""What `task=train` does with a knob that no figure shows."""

import torch
from torch import nn

from sgexp.__main__ import main

from ..commands import only_run, result

TINY = ("size=tiny", "trainer.accelerator=cpu", "model.width=4", "trainer.epochs=1", "trainer.limit_batches=1")


def test_a_training_compiles_its_network_when_asked_to_and_its_checkpoint_does_not_show_it(tmp_path, monkeypatch):
    """The compiler itself takes minutes (its numbers: learning/test_models.py), so it hands every call on here."""
    compiled, compile_network = [], nn.Module.compile

    def noted(self, *args, **kwargs):
        compiled.append(self)
        compile_network(self, *args, **kwargs)

    monkeypatch.setattr(nn.Module, "compile", noted)
    monkeypatch.chdir(tmp_path)
    words = (*TINY, "logger=none", "evaluation.baselines=[]", "callbacks.progress=false")
    with torch.compiler.set_stance("force_eager"):
        assert main([*words, "trainer.compile=true"]) == 0
    (network,) = compiled
    assert network._compiled_call_impl is not None
    folder = only_run(tmp_path)
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert result(folder)["status"] == "finished" and not any("_orig_mod" in name for name in state)
    assert {name.removeprefix("model.") for name in state} >= {*network.state_dict()}
