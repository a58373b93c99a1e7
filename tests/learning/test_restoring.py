"""A checkpoint becomes the network that wrote it; one from a stranger runs no code and takes no memory it has not."""

import pickle
import zipfile

import numpy as np
import pytest
import torch

from sgexp.errors import ConfigError, DataError
from sgexp.learning.checkpoint import write_checkpoint
from sgexp.learning.models.small import small_net
from sgexp.learning.restoring import Inference, TrainedNetwork
from sgexp.learning.schema import TrainerConfig

CLASSES = torch.tensor([2, 14, 225])


def build(n_classes, width=4):
    return small_net(width, 1, "batch", 0.0, "shared", "features", n_classes=n_classes)


def state_of(network):
    return {f"model.{name}": value for name, value in network.state_dict().items()}


@pytest.fixture
def written(tmp_path):
    network = build(3).eval()
    path = tmp_path / "best.ckpt"
    write_checkpoint(
        {"state_dict": {**state_of(network), "classes": CLASSES, "loss.weight": torch.ones(3)}, "epoch": 6}, path
    )
    return network, path


def test_the_restored_network_answers_like_the_one_that_was_saved(written):
    network, path = written
    restored = TrainedNetwork(path, build, channels_last=False)
    patterns = np.random.default_rng(0).random((4, 3, 16, 16), dtype=np.float32)
    found = Inference(restored.network, lambda coded: coded, TrainerConfig(accelerator="cpu")).logits(patterns)
    with torch.no_grad():
        np.testing.assert_array_equal(found, network(torch.from_numpy(patterns)).numpy())
    assert restored.classes.tolist() == CLASSES.tolist() and restored.epoch == 7


def test_weights_of_another_network_are_refused_by_name_before_memory_is_taken(written):
    _, path = written
    with pytest.raises(DataError, match=r"does not fit the run's config.yaml: .*layers.0"):
        TrainedNetwork(path, lambda n: build(n, width=512))


@pytest.mark.parametrize(
    "classes", [torch.tensor([2, 2, 14]), torch.tensor([0, 2, 14]), torch.tensor([2, 14, 231]), torch.zeros(0).long()]
)
def test_answers_that_mean_no_groups_are_refused(tmp_path, classes):
    path = tmp_path / "a.ckpt"
    write_checkpoint({"state_dict": {"classes": classes}}, path)
    with pytest.raises(DataError, match="space groups from 1 to 230"):
        TrainedNetwork(path, build)


@pytest.mark.parametrize("content", [{}, {"state_dict": 3}, {"state_dict": {"classes": "14"}}, [1, 2]])
def test_a_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    torch.save(content, path)
    with pytest.raises(DataError, match="no checkpoint of sgexp"):
        TrainedNetwork(path, build)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "a.ckpt"
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(DataError, match="cannot be read"):
        TrainedNetwork(path, build)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="cannot be read"):
        TrainedNetwork(path, build)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_unpacks_to_more_than_it_holds_is_refused(written, tmp_path):
    _, path = written
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in whole.infolist():
            packed.writestr(member.filename, bytes(50_000_000) if "data/0" in member.filename else whole.read(member))
    assert bomb.stat().st_size < 1_000_000
    with pytest.raises(DataError, match="unpacks to more than it holds"):
        TrainedNetwork(bomb, build)


def test_half_a_checkpoint_is_refused(written):
    _, path = written
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError, match="cannot be read"):
        TrainedNetwork(path, build)


def test_half_precision_on_a_cpu_is_refused_with_what_to_do():
    with pytest.raises(ConfigError, match=r"trainer\.precision=32"):
        Inference(build(3), lambda coded: coded, TrainerConfig(accelerator="auto", precision="16"))


def test_a_diverged_network_is_told_and_gives_no_answer():
    network = build(3)
    torch.nn.init.constant_(network.head.bias, float("nan"))
    with pytest.raises(DataError, match="diverged"):
        Inference(network, lambda coded: coded, TrainerConfig(accelerator="cpu")).logits(
            np.ones((1, 3, 16, 16), np.float32)
        )
