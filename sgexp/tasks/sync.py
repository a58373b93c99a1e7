"""``task=sync``: upload the W&B records of offline runs with the client's own ``wandb sync``, as often as it takes.

What is uploaded is remembered by the file ``run-<id>.wandb.synced`` that the client leaves, so the same command goes on
where it was interrupted. The client ends with exit code 0 and leaves that file even where an upload failed; here its
messages decide.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from sgexp.console import console, progress
from sgexp.errors import ConfigError, UserError
from sgexp.report.collect import RESULT
from sgexp.runs import RunResult

if TYPE_CHECKING:
    from sgexp.config import Config

WANDB = "wandb"
_EMPTY = 7  # bytes: the header alone
_RETRIES = "5"  # of a request that is not answered; the client's own number makes it wait for most of a day


def sync(config: Config) -> None:
    """Upload what is not uploaded yet, run by run; a failure of one is told and the next goes on."""
    folder = Path(config.task.folder or config.output_dir)  # type: ignore[attr-defined]
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: give task.folder=DIR, a run folder or one that holds some")
    waiting, running, uploaded = find(folder)
    if running:
        console.print(f"{len(running)} still running, left for later: {', '.join(escape(run.name) for run in running)}")
    if not waiting:
        console.print(f"nothing to upload below {escape(str(folder))} ({uploaded} records were uploaded before)")
        return
    with _environment():
        refuse_unreachable()
        try:
            failed = upload_all(waiting)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command goes on with what is left") from None
    if failed:
        raise UserError(
            f"{len(failed)} of {len(waiting)} runs were not uploaded, beginning with {failed[0]}; the same "
            "command goes on with them"
        )


def find(folder: Path) -> tuple[list[Path], list[Path], int]:
    """Return the records to upload at or below ``folder``, the run folders that are still running, and how many records
    are uploaded.
    """
    waiting, running, uploaded = [], [], 0
    for wandb in sorted(wandb_folders(folder)):
        records = whole_records(wandb)
        left = [path for path in records if not _marker(path).exists()]
        uploaded += len(records) - len(left)
        if left and _is_running(wandb.parent):
            running.append(wandb.parent)
        else:
            waiting += left
    return waiting, running, uploaded


def wandb_folders(folder: Path) -> Iterator[Path]:
    """Yield the ``wandb`` folders at or below ``folder``, at any depth; links are not followed."""
    for here, inner, files in os.walk(folder):
        wandb = Path(here) / WANDB
        if WANDB in inner and not wandb.is_symlink():
            yield wandb
        is_run = RESULT in files
        inner[:] = [] if is_run else [name for name in inner if name != WANDB and not name.startswith(".")]


def whole_records(wandb: Path) -> list[Path]:
    """Return the records in a run's ``wandb`` folder that tell all of a W&B run: of each, that of the last start.

    A process that was killed in its first seconds leaves an empty one.
    """
    found = sorted(path for path in wandb.glob("offline-run-*/run-*.wandb") if path.stat().st_size > _EMPTY)
    return list({path.name: path for path in found}.values())


def _is_running(folder: Path) -> bool:
    try:
        return RunResult.read(folder).status == "running"
    except UserError:
        return False


def _marker(record: Path) -> Path:
    return record.with_name(record.name + ".synced")


@contextmanager
def _environment() -> Iterator[None]:
    """Let the client go online, bound its patience, and hear from it only what is asked."""
    before = dict(os.environ)
    os.environ.pop("WANDB_MODE", None)
    os.environ |= {"WANDB_SILENT": "true"}
    os.environ.setdefault("WANDB_X_GRAPHQL_RETRY_MAX", _RETRIES)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def refuse_unreachable() -> None:
    """Refuse to begin without an account, or where W&B does not answer or does not take the account's key."""
    import wandb

    try:
        with console.status("asking W&B"):
            known = wandb.login(prompt=False, verify=True)
    except wandb.errors.Error as error:
        raise UserError(
            "W&B does not answer, or does not take the account's key; see to the network, or give a key with "
            f"`wandb login` (the client says: {_first_line(str(error))})"
        ) from error
    if not known:
        raise ConfigError(
            "no W&B account is set up here: run `wandb login` once, or set WANDB_API_KEY, and give the command again"
        )


def upload_all(waiting: list[Path]) -> list[str]:
    """Upload record by record; return the runs that failed. Stops when W&B can no longer be reached."""
    names = [record.parents[2].name for record in waiting]
    failed: list[str] = []
    with progress() as bar:
        task = bar.add_task("uploading", total=len(waiting))
        for place, (name, record) in enumerate(zip(names, waiting, strict=True)):
            bar.update(task, description=escape(name))
            reason = upload(record)
            bar.update(task, advance=1)
            if reason is None:
                console.print(f"uploaded {escape(name)}")
                continue
            failed.append(name)
            console.print(f"[yellow]not uploaded: {escape(name)} ({escape(reason)})[/yellow]")
            try:
                refuse_unreachable()
            except UserError as error:
                console.print(f"[yellow]{escape(str(error))}[/yellow]")
                return failed + names[place + 1 :]
    return failed


def upload(record: Path) -> str | None:
    """Upload one record; return what went wrong, or None."""
    command = [sys.executable, "-m", "wandb", "sync", str(record)]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SILENT"}
    ended = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    errors = [line for line in ended.stdout.splitlines() if line.startswith("wandb: ERROR ")]
    if ended.returncode == 0 and not errors and _marker(record).exists():
        return None
    _marker(record).unlink(missing_ok=True)  # the client leaves it even when it gave up
    said = errors[0] if errors else _last_line(ended.stdout)
    return re.sub(r"^wandb: (ERROR )?(\[\S+\] )?", "", said).partition(". ")[0][:300]


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]


def _last_line(text: str) -> str:
    return _first_line("\n".join(reversed(text.splitlines()))) or "the client said nothing"
