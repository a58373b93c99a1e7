"""What a person got wrong, said in one sentence: what, where, and what to do. These never show a stack trace."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from signal import Signals


class UserError(Exception):
    """A mistake that its reader can mend; the command prints its message and exits with ``exit_code``."""

    exit_code = 1


class Preempted(KeyboardInterrupt):
    """A cluster asked the run to stop (SIGTERM, SIGUSR1); it did, and can go on. The command exits with 75."""

    exit_code = 75  # sysexits.h: a temporary failure, to be tried again
    heard: Signals | None = None
    asks_again = False  # the cluster is to start the job again

    @classmethod
    def by(cls, heard: Signals, asks_again: bool, said: str = "") -> Preempted:
        """Return the end by a signal."""
        ended = cls(said)
        ended.heard, ended.asks_again = heard, asks_again
        return ended


class ProcessLost(KeyboardInterrupt):
    """Another process of a distributed run was killed, or its machine was lost; the run can go on with a new one."""

    exit_code = 75


class ConfigError(UserError):
    """The question was asked wrongly (unknown key, wrong type, value out of range): nothing was touched yet."""

    exit_code = 2


class DataError(UserError):
    """The data cannot be used as they are (missing, cut short, too many bad samples, a full disk)."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest of ``names``, or an empty string when none is near."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
