"""The scripts that docs/clusters.md shows are those that the lines above them write, word for word."""

import re
import shlex
import sys

import pytest

from ..commands import command


def anywhere(text, folder, python):
    """Return a script without what differs from place to place: the folder, the python, the time, the hash."""
    named = re.sub(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_([\w-]+)-[0-9a-f]{8}", r"TIME_\1-HASH", text)
    return named.replace(python, "PYTHON").replace(folder, "FOLDER")


@pytest.mark.parametrize("system", ["slurm", "lsf"])
def test_the_script_of_the_docs_is_what_its_line_writes(system, root, tmp_path, monkeypatch):
    monkeypatch.delenv("SGEXP_DATA")
    page = (root / "docs" / "clusters.md").read_text(encoding="utf-8")
    shown = re.findall(r"\$ python -m sgexp (task=submit .*)\n.*\n.*\n```\n(?:.*\n)*?```sh\n([^`]*)```", page)
    (line, script) = next((line, script) for line, script in shown if ("=lsf" in line) == (system == "lsf"))
    ended = command(*shlex.split(line), cwd=tmp_path)
    assert ended.code == 0, ended.err
    (written,) = tmp_path.glob("outputs/submit/*.sh")
    assert anywhere(written.read_text(), str(tmp_path), sys.executable) == anywhere(
        script, "/home/me/sgexp", "/home/me/venv/bin/python"
    )
