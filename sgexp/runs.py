"""The one owner of run folders: it makes, locks, reads, resumes and migrates them. Nobody else writes a run's record.

A run folder is all that training hands to reports and sweeps. Its heart is ``result.json``, written first with status
``running`` (and who runs it), rewritten whole and atomically ever after, so that a reader never sees half a file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import platform
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from sgexp.errors import ConfigError, DataError, UserError
from sgexp.machine import available_cores

SCHEMA_VERSION = 1
HEARTBEAT_SECONDS = 30.0
STALE_SECONDS = 10 * HEARTBEAT_SECONDS  # a run on another host whose heart stopped this long ago is interrupted
AUTO = "auto"  # what resume= says to have the newest interrupted run of the same experiment found
SWEEP = "SGEXP_SWEEP"  # the environment variable by which a sweep tells its runs that they belong to it
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # also: a quota, a limit on the size of files
Status = Literal["running", "finished", "failed", "interrupted"]

_RECORDED_PACKAGES = (
    *("sgexp", "torch", "pytorch-lightning", "hydra-core", "imbalanced-learn", "scikit-learn"),
    *("numpy", "scipy", "h5py", "gemmi", "spglib"),
)

# What a config says of the machine and of paths, not of the experiment: left out of the hash that names the experiment.
_NOT_THE_EXPERIMENT = frozenset(
    {"name", "output_dir", "data_dir", "resume", "logger", "report", "launcher", "search", "task.folder"}
    | {"dataset.cache_mb", "callbacks.progress", "callbacks.checkpoint_steps", "callbacks.grace_seconds"}
    | {f"trainer.{key}" for key in ("accelerator", "devices", "nodes", "workers", "compile")}
    | {"trainer.timeout_seconds", "trainer.lost_seconds", "simulation.processes", "simulation.engine.device"}
)

# What a run did whose config does not say: groups and keys that came later. Where nothing else is chosen, they leave
# the hash as it was before them, so that old runs are found again (resume=auto, sweeps).
ADDED_LATER: dict[str, Any] = {
    "stage": {"_target_": "sgexp.learning.stages.none"},
    "mixing": {"_target_": "sgexp.loading.mixing.none"},
    "head": {"_target_": "sgexp.learning.models.hierarchical.linear"},
    "auxiliary": {"_target_": "sgexp.learning.auxiliary.none"},
    "search": {},
    "labels": 230,
}

# The same of single fields: where they hold what was the only way before them, they leave every hash as it was.
FIELDS_ADDED_LATER: dict[str, Any] = {
    "simulation.detector": {"_target_": "sgexp.simulation.detector.Ideal"},
    "simulation.uvw": None,
    "simulation.mistilt_mrad": 0.0,
    "simulation.element_displacement": {},
    "simulation.file_displacement": False,
    "simulation.engine.placement": "exact",
    "simulation.engine.extent": False,
    "simulation.engine.thermal": "frozen_phonons",
    "optimizer.nesterov": True,
    "augment.erase_least": 0.0,
    "augment.erase_ratio": 0.0,
    "augment.show": "all",
    "augment.dose": None,
    "augment.blur": 0.0,
    "augment.background": 0.0,
    "task.shard": None,
    "sampler.features": "pooled",
    "sampler.run": None,
    "sampler.mix_in": "coded",
    "sampler.fresh": False,
    "sampler.neighbours": "exact",
    "sampler.estimator": "forest",
    "dataset.library": 1,
    "dataset.jitter": 0.0,
}


def as_before(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return what stands at ``path`` of a config without the fields that came later and say nothing new."""
    kept = {}
    for key, value in values.items():
        place = f"{path}.{key}" if path else key
        if place in FIELDS_ADDED_LATER and value == FIELDS_ADDED_LATER[place]:
            continue
        kept[key] = as_before(value, place) if isinstance(value, Mapping) else value
    return kept


def as_first_said(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the groups and fields that came later and say nothing new, as older runs say it."""
    return as_before({key: value for key, value in config.items() if value != ADDED_LATER.get(key)}, "")


def experiment(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that says what the experiment is: without paths, loggers and what a machine has."""

    def kept(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            return value.removeprefix(f"{config.get('data_dir')}/") if isinstance(value, str) else value
        paths = {key: f"{path}.{key}" if path else key for key in value}
        return {key: kept(item, paths[key]) for key, item in value.items() if paths[key] not in _NOT_THE_EXPERIMENT}

    # A task that works on an old run is another experiment for another run; all others know neither key.
    not_given = {key for key in ("run", "input") if config.get(key) is None}
    return kept({key: item for key, item in config.items() if key not in not_given}, "")


def config_hash(config: Mapping[str, Any]) -> str:
    """Return eight hex digits that name the experiment: equal on any machine, whatever paths, loggers and workers."""
    text = json.dumps(as_first_said(experiment(config)), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed to the disk, then moved into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error.strerror}): free some space there") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON record atomically, with its schema version."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **record}, indent=2, allow_nan=False, default=_jsonable)
    write_text(path, text + "\n")


def _jsonable(value: Any) -> Any:
    """Turn NumPy scalars and arrays, paths and dataclasses into what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def finite(value: Any) -> Any:
    """Replace NaN and infinities (an undefined figure) by None, which JSON can say."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    if isinstance(value, float) and not (value - value == 0):
        return None
    return value


@dataclass(frozen=True)
class RunResult:
    """What ``result.json`` says; ``status`` is what is true now (a run that died without a word is interrupted)."""

    folder: Path
    status: Status
    record: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> RunResult:
        """Read a run folder's result, bring an older schema up to date; a broken one is a `UserError`."""
        path = Path(folder) / "result.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            status = record["status"]
            version = int(record["schema_version"])
        except FileNotFoundError:
            raise UserError(f"{folder} is no run folder: it has no result.json") from None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{path} cannot be read as a run's result ({error})") from None
        if version > SCHEMA_VERSION:
            raise UserError(f"{path} was written by a newer sgexp (schema {version}); update sgexp to read it")
        if status == "running" and not alive(record):
            status = "interrupted"
        return cls(Path(folder), status, record)


def alive(record: Mapping[str, Any]) -> bool:
    """Say whether the process that wrote a running result still lives: by its pid here, by its heartbeat elsewhere.

    When Slurm starts a job again, the job's earlier start is over, wherever it was.
    """
    before, now = record.get("slurm"), slurm_start()
    if isinstance(before, list) and now is not None and before[:1] == now[:1] and before != now:
        return False
    if record.get("host") == socket.gethostname():
        try:
            os.kill(int(record["pid"]), 0)
        except PermissionError:
            pass  # it is there, and another user's
        except (OSError, KeyError, ValueError, TypeError, OverflowError):
            return False
        # Numbers are given again, in a container soon: the same number is the same process if it began then too.
        return record.get("pid_since") in (None, _began(int(record["pid"])))
    return time.time() - float(record.get("heartbeat", 0.0)) < STALE_SECONDS


def slurm_start(environment: Mapping[str, str] | None = None) -> list[str] | None:
    """Return the number of this process's Slurm job and how often it was started again; None outside of Slurm."""
    env = os.environ if environment is None else environment
    return [env["SLURM_JOB_ID"], env.get("SLURM_RESTART_COUNT", "0")] if env.get("SLURM_JOB_ID") else None


@contextlib.contextmanager
def runs_of_sweep(name: str) -> Iterator[None]:
    """Have the runs that the body makes, and the processes that it starts, belong to a sweep; the next ones do not."""
    before = os.environ.get(SWEEP)
    os.environ[SWEEP] = name
    try:
        yield
    finally:
        os.environ.pop(SWEEP)
        if before is not None:
            os.environ[SWEEP] = before


def this_process() -> dict[str, Any]:
    """Return what tells later, and elsewhere, whether this process still lives (see `alive`)."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "pid_since": _began(pid), "heartbeat": time.time()}


def note(folder: Path, **facts: Any) -> None:
    """Add facts to the result of a run that nobody runs, such as why it was ended; one that is run is left alone."""
    with contextlib.suppress(Timeout), FileLock(Path(folder) / "run.lock", blocking=False):
        write_json(Path(folder) / "result.json", RunResult.read(folder).record | finite(facts))


def _began(pid: int) -> str | None:
    """Return when a process began, in the system's ticks, where the system says so (Linux)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


class RunFolder:
    """A run's folder while it is being run: made exclusively, recorded atomically, closed with its true status."""

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder, self.writes = folder, writes
        self._record: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @classmethod
    def create(cls, output_dir: Path, task: str, name: str | None, config: Mapping[str, Any]) -> RunFolder:
        """Make ``output_dir/task/<date>_<time>_<name>-<hash>``, a folder no other run has or will ever have."""
        label = re.sub(r"[^A-Za-z0-9._+=-]+", "-", name or task).strip("-.")[:80] or task
        stem = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{label}-{config_hash(config)}"
        parent = Path(output_dir) / task
        try:
            parent.mkdir(parents=True, exist_ok=True)
            for attempt in range(1, 10_000):
                folder = parent / (stem if attempt == 1 else f"{stem}-{attempt}")
                with contextlib.suppress(FileExistsError):
                    folder.mkdir()
                    return cls(folder)
        except OSError as error:
            raise ConfigError(f"output_dir={output_dir}: no run folder can be made there ({error.strerror})") from None
        raise UserError(f"{parent} holds 10,000 runs of the same second and name; clear it first")

    @classmethod
    def reopen(cls, folder: Path) -> RunFolder:
        """Open an interrupted or failed run to go on in it; a living or finished one is refused."""
        result = RunResult.read(folder)
        if result.status in ("running", "finished"):
            raise ConfigError(f"resume={folder}: that run is {result.status}; only an interrupted one can go on")
        run = cls(Path(folder))
        run._record = result.record
        return run

    @property
    def record(self) -> dict[str, Any]:
        """What result.json says so far."""
        return dict(self._record)

    def path(self, *parts: str) -> Path:
        """Return a path inside the run folder."""
        return self.folder.joinpath(*parts)

    def describe(self, config: Mapping[str, Any], overrides: list[str], **provenance: Any) -> None:
        """Write what was asked (config.yaml, overrides.yaml) and with what it was run (provenance.json)."""
        self.write_config(config)
        write_text(self.path("overrides.yaml"), yaml.safe_dump(list(overrides)))
        write_json(self.path("provenance.json"), gather_provenance() | provenance)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write what was asked, every value of it."""
        write_text(self.path("config.yaml"), yaml.safe_dump(dict(config), sort_keys=False))

    def update(self, **facts: Any) -> None:
        """Add facts to result.json (only the first process of a distributed run does)."""
        with self._lock:
            self._record |= finite(facts)
            if not self.writes:
                return
            write_json(self.path("result.json"), self._record)

    @contextlib.contextmanager
    def recording(self, **facts: Any) -> Iterator[RunFolder]:
        """Keep result.json true while the body runs: running with a heartbeat, then finished, failed or interrupted."""
        if not self.writes:
            yield self
            return
        with self._held():
            self._sweep()
            yield from self._recorded(facts)

    def _sweep(self) -> None:
        """Delete the hidden files that a process killed while it wrote has left behind."""
        for folder in (self.folder, self.path("checkpoints")):
            for path in folder.glob(".*"):
                if path.is_file():
                    path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Keep other processes from going on in this folder at the same time."""
        try:
            with FileLock(self.path("run.lock"), blocking=False):
                yield
        except Timeout:
            raise ConfigError(f"{self.folder} is being run by another process; wait for it to end") from None

    def _recorded(self, facts: Mapping[str, Any]) -> Iterator[RunFolder]:
        started, before = time.time(), float(self._record.get("wall_seconds", 0.0))
        for told in ("error", "pruned"):  # of an earlier start
            self._record.pop(told, None)
        who: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "pid_since": _began(os.getpid())}
        if sweep := os.environ.get(SWEEP):
            who["sweep"] = sweep
        who["slurm"] = slurm_start()
        self.update(status="running", **who, started=_timestamp(), heartbeat=time.time(), **facts)
        heart = threading.Thread(target=self._beat, daemon=True)
        heart.start()
        status: Status = "failed"
        try:
            yield self
            status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except BaseException as error:
            self._record["error"] = f"{type(error).__name__}: {error}"[:2000]
            raise
        finally:
            self._stop.set()
            heart.join()
            spent = before + time.time() - started
            self.update(status=status, wall_seconds=round(spent, 3), peak_memory_mb=peak_memory_mb())

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(DataError):  # a full disk must not end a run through its heartbeat
                self.update(heartbeat=time.time())


def _timestamp() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def peak_memory_mb() -> float:
    """Return the largest memory this process, or any one of its ended children, has held (MiB)."""
    unit = 1024.0 if sys.platform != "darwin" else 1024.0**2  # kilobytes on Linux, bytes on macOS
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return round(max(peaks) / unit, 1)


def gather_provenance() -> dict[str, Any]:
    """Collect what a repeat of the run would need: command, code, versions and machine."""
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "time": _timestamp(),
        "git": _git_state(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _RECORDED_PACKAGES},
        "machine": {
            "host": socket.gethostname(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": available_cores(),
        },
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line for line in lines if line.startswith("model name")).partition(":")[2].strip()
    return platform.processor()


def _git_state() -> dict[str, Any] | None:
    """Return the commit of sgexp's own checkout and its uncommitted diff; None when it runs from an installed copy."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=False)
        return done.stdout if done.returncode == 0 else ""

    try:
        return {"commit": git("rev-parse", "HEAD").strip(), "diff": git("diff", "HEAD")[:200_000]}
    except (OSError, subprocess.TimeoutExpired):
        return None
