"""Reads what wandb keeps of an offline run: protobuf records in the log format of LevelDB.

(wandb has no public reader. The format: a header of 7 bytes, then blocks of 32 KiB; in a block, pieces of records, each
with a header of 7 bytes: checksum, length, and whether it is whole (1) or the first (2), a middle (3) or the last (4).)
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

BLOCK = 32768


def records(path: Path) -> list[Any]:
    """Return the records of one ``run-<id>.wandb`` file, as far as it was written."""
    from wandb.proto import wandb_internal_pb2

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    found, whole, at = [], b"", 7
    while at + 7 <= len(data):
        left = BLOCK - at % BLOCK
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if kind == 0:
            at += left
            continue
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


class Segment:
    """One start of a run: what a ``.wandb`` file says."""

    def __init__(self, path: Path) -> None:
        self.path, self.records = path, records(path)

    def of(self, kind: str) -> list[Any]:
        """Return the records of a kind (run, history, summary, exit, artifact, config ...)."""
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self) -> Any:
        """Return the record that names the run: run_id, project, display_name, run_group, tags."""
        return self.of("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        """Return the config, of the start and of later updates."""
        updates = [*self.run.config.update, *(item for record in self.of("config") for item in record.update)]
        return {_key(item): json.loads(item.value_json) for item in updates if not _key(item).startswith("_wandb")}

    @property
    def charts(self) -> dict[str, str]:
        """Return key -> name of W&B's chart definition, of the custom charts that were logged."""
        items = [item for record in self.of("config") for item in record.update if len(item.nested_key) == 3]
        panels = {
            item.nested_key[2]: json.loads(item.value_json) for item in items if item.nested_key[1] == "visualize"
        }
        return {key: panel["panel_config"]["panelDefId"] for key, panel in panels.items()}

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return the rows that were logged."""
        return [{_key(item): json.loads(item.value_json) for item in row.item} for row in self.of("history")]

    @property
    def summary(self) -> dict[str, Any]:
        """Return what was written to the summary."""
        return {_key(item): json.loads(item.value_json) for record in self.of("summary") for item in record.update}

    @property
    def artifacts(self) -> dict[str, dict[str, str]]:
        """Return type -> {name in the artifact: file on disk} of the artifacts that were logged."""
        return {
            record.type: {entry.path: entry.local_path for entry in record.manifest.contents}
            for record in self.of("artifact")
        }

    @property
    def exit_code(self) -> int | None:
        """Return with which exit code the run ended; None: it did not say."""
        ended = self.of("exit")
        return ended[-1].exit_code if ended else None


def _key(item: Any) -> str:
    return "/".join(item.nested_key) if item.nested_key else item.key


def segments(run_folder: Path) -> list[Segment]:
    """Return the record of each start of a run, in order."""
    return [Segment(path) for path in sorted(run_folder.glob("wandb/offline-run-*/run-*.wandb"))]
