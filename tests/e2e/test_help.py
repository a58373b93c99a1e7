"""``python -m sgexp --help``: quick, and it names every group and choice with a line of what it is."""

import resource
import subprocess
import sys

from sgexp import config
from sgexp.__main__ import main
from sgexp.usage import CONF_DIR, description


def test_every_group_and_choice_has_a_line(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for group in [*config.groups(), "experiment"]:
        assert f"  {group}" in lines
        for path in (CONF_DIR / group).glob("*.yaml"):
            assert description(path), f"{path} opens with no sentence"
            assert any(line.split()[:1] == [path.stem] or line.split()[:2] == ["*", path.stem] for line in lines), path


def test_help_names_the_choices_of_a_config_dir(capsys, tmp_path):
    (tmp_path / "sampler").mkdir()
    (tmp_path / "sampler" / "own.yaml").write_text("# One of my own.\n")
    assert main(["--help", "--config-dir", str(tmp_path)]) == 0
    assert "One of my own." in capsys.readouterr().out


def seconds(*arguments):
    """Return the least processor time of three runs: what else the machine does slows them, but hardly adds to it."""

    def used():
        found = resource.getrusage(resource.RUSAGE_CHILDREN)
        return found.ru_utime + found.ru_stime

    times = []
    for _ in range(3):
        before = used()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(used() - before)
    return min(times)


def test_help_takes_less_than_half_of_importing_torch():
    assert seconds("-m", "sgexp", "--help") < 0.5 * seconds("-c", "import torch")


def test_help_into_a_closed_pipe_is_no_error():
    ended = subprocess.run(f"{sys.executable} -m sgexp --help | head -1", shell=True, capture_output=True, text=True)
    assert ended.stderr == ""
    assert ended.stdout.startswith("usage: python -m sgexp")


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sgexp ")
