import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from sgexp.errors import DataError
from sgexp.learning import checkpoint as checkpoints
from sgexp.learning.checkpoint import (
    SafeCheckpointIO,
    load_weights,
    newest_whole,
    read_checkpoint,
    write_checkpoint,
)

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


def test_the_digest_is_inside_the_file_and_torch_does_not_mind(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint({"w": torch.arange(1000)}, path)
    found = zipfile.ZipFile(path).comment.decode()
    assert re.fullmatch(r"sgexp sha256=[0-9a-f]{64}", found)
    whole = path.read_bytes()
    as_torch_wrote = whole[: -len(found) - 2] + bytes(2)  # without the comment
    assert hashlib.sha256(as_torch_wrote).hexdigest() == found.partition("=")[2]
    assert torch.load(io.BytesIO(as_torch_wrote), weights_only=True)["w"].sum() == 499_500
    assert torch.load(path, weights_only=True)["w"].sum() == 499_500


def test_a_change_that_the_archive_itself_does_not_notice_is_noticed(tmp_path):
    path = tmp_path / "last.ckpt"
    write_checkpoint({"epoch": 1, "w": torch.zeros(64)}, path)
    whole = path.read_bytes()
    padding = whole.index(b"ZZZZ")  # torch fills up to a boundary: no checksum of a member covers it
    path.write_bytes(whole[: padding + 3] + b"!" + whole[padding + 4 :])
    assert zipfile.ZipFile(path).testzip() is None
    with pytest.raises(DataError, match="is damaged"):
        read_checkpoint(path)


def test_a_checkpoint_without_a_digest_is_read_by_its_checksums(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": 3}, path)
    assert read_checkpoint(path)["epoch"] == 3


def test_the_newest_whole_checkpoint_is_found_and_the_torn_one_named(tmp_path):
    assert newest_whole(tmp_path) == (None, {})
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for epoch in (1, 2, 3):
        write_checkpoint({"epoch": epoch}, last)
        assert newest_whole(tmp_path) == (last, {})
    assert (read_checkpoint(last)["epoch"], read_checkpoint(previous)["epoch"]) == (3, 2)
    last.write_bytes(last.read_bytes()[:-100])
    path, skipped = newest_whole(tmp_path)
    assert path == previous and list(skipped) == [last] and "last.ckpt cannot be read" in skipped[last]
    previous.write_bytes(b"")
    with pytest.raises(DataError, match=r"No checkpoint in .* is whole.*last\.ckpt.*previous\.ckpt"):
        newest_whole(tmp_path)


WRITES = """
import sys, tempfile, torch
from pathlib import Path
from pytorch_lightning.plugins.io import TorchCheckpointIO
from sgexp.learning.checkpoint import SafeCheckpointIO
written = []
tempfile.gettempdir()  # tries to write there
sys.addaudithook(lambda event, args: event == "open" and args[2] & 3 and written.append(str(args[0])))
ways = {"naive": TorchCheckpointIO, "ours": SafeCheckpointIO}
ways[sys.argv[1]]().save_checkpoint({"w": torch.zeros(100)}, Path(sys.argv[2]))
print("\\n".join(name for name in written if not name.endswith(".pyc")))
"""


@pytest.mark.parametrize("way", ["naive", "ours"])
def test_a_checkpoint_is_renamed_within_its_file_system_wherever_tmpdir_is(way, tmp_path):
    """A file that is made in TMPDIR, on another file system, is copied into its place: a crash leaves a part of it."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with tempfile.TemporaryDirectory(dir=shared) as other:
        command = [sys.executable, "-c", WRITES, way, str(tmp_path / "last.ckpt")]
        done = subprocess.run(command, env={**os.environ, "TMPDIR": other}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    opened = [Path(name) for name in done.stdout.split()]
    assert {path.parent for path in opened} == ({tmp_path} if way == "ours" else {tmp_path, Path(other)})
    assert (tmp_path / "last.ckpt" in opened) == (way == "naive"), "the checkpoint itself is not written but renamed to"
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["w"].shape == (100,)


def test_what_could_not_be_loaded_as_plain_values_is_refused_when_it_is_written(tmp_path):
    settings = OmegaConf.create({"lr": 0.1})
    torch.save({"hyper_parameters": settings}, tmp_path / "naive.ckpt")
    with pytest.raises(DataError, match="cannot be read"):  # too late: training is over
        read_checkpoint(tmp_path / "naive.ckpt")
    path = tmp_path / "last.ckpt"
    with pytest.raises(DataError, match=r"omegaconf\.dictconfig\.DictConfig.*keep only numbers"):
        SafeCheckpointIO().save_checkpoint({"hyper_parameters": settings}, path)
    assert not path.exists()
    SafeCheckpointIO().save_checkpoint({"hyper_parameters": OmegaConf.to_container(settings)}, path)
    assert read_checkpoint(path)["hyper_parameters"] == {"lr": 0.1}
