import os
import signal
import threading
import time
import zipfile

import pytest
import torch

from sgexp.errors import DataError
from sgexp.learning import checkpoint as checkpoints
from sgexp.learning.checkpoint import load_weights, read_checkpoint, write_checkpoint

from .plumbing import make_module, weights


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "last.ckpt"
    write_checkpoint({"state_dict": {"w": torch.arange(3)}, "epoch": 2}, path)
    found = read_checkpoint(path)
    assert found["epoch"] == 2 and found["state_dict"]["w"].tolist() == [0, 1, 2]
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def test_a_write_that_fails_leaves_the_old_checkpoint_whole(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    write_checkpoint({"epoch": 1}, path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full_disk)
    with pytest.raises(DataError, match=r"Cannot write the checkpoint .*last\.ckpt .*No space left"):
        write_checkpoint({"epoch": 2}, path)
    assert read_checkpoint(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


class Surprise:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_checkpoint_cannot_run_code(tmp_path, capsys):
    torch.save({"epoch": Surprise()}, tmp_path / "bad.ckpt")
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(tmp_path / "bad.ckpt")
    assert "never run" not in capsys.readouterr().out


def test_damage_and_cuts_are_noticed(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint({"w": torch.zeros(5000)}, path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + b"\x01" + whole[middle + 1 :])
    with pytest.raises(DataError, match="is damaged"):
        read_checkpoint(path)
    path.write_bytes(whole[:middle])
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        read_checkpoint(path)
    with pytest.raises(DataError, match="There is no checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
    assert zipfile.is_zipfile(path) is False


def test_weights_for_other_groups_are_refused(tmp_path):
    module = make_module()
    write_checkpoint({"state_dict": module.state_dict()}, tmp_path / "best.ckpt")
    fresh = make_module(seed=6)
    load_weights(fresh, tmp_path / "best.ckpt")
    assert torch.equal(weights(fresh), weights(module))
    with pytest.raises(DataError, match="trained for other space groups"):
        load_weights(make_module(classes=(2, 14, 76, 78, 227)), tmp_path / "best.ckpt")


def test_ctrl_c_while_a_checkpoint_is_written_is_ctrl_c_and_no_failed_write(tmp_path):
    interrupted = 0
    for attempt in range(20):
        timer = threading.Timer(0.005 * attempt, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()
            write_checkpoint({"x": torch.zeros(10_000_000), "attempt": attempt}, tmp_path / "a.ckpt")
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            interrupted += 1
    assert interrupted == 20
    assert read_checkpoint(tmp_path / "a.ckpt")["x"].shape == (10_000_000,)  # Ctrl-C waited: what was begun is kept
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
