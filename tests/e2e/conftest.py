"""One undisturbed run on the session's tiny data set, which the other tests look at and compare with."""

import pytest

from .commands import TINY, command, only_run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Return (run folder, how the command ended) of ``python -m sgexp size=tiny trainer.epochs=2``."""
    cwd = tmp_path_factory.mktemp("tiny")
    ended = command(*TINY, cwd=cwd)
    assert ended.code == 0, ended.err
    return only_run(cwd), ended
