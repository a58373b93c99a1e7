"""``task=validate`` finds what is wrong in a config file, and nothing in ours."""

import pytest

from sgexp.__main__ import main
from sgexp.composition import Composer
from sgexp.tasks.validate import check_file, check_folder
from sgexp.usage import CONF_DIR

FILES = sorted(CONF_DIR.rglob("*.yaml"))


@pytest.fixture(scope="module")
def composer():
    return Composer()


@pytest.mark.parametrize("path", FILES, ids=[path.relative_to(CONF_DIR).as_posix() for path in FILES])
def test_every_config_file_composes_lists_its_fields_and_explains_itself(path, composer):
    assert not check_file(path, CONF_DIR, composer).mistakes


RIGHT = "# Every sample once.\n# What is built.\n_target_: sgexp.sampling.plain.Plain\n"


@pytest.mark.parametrize(
    ("path", "text", "mistake"),
    [
        ("sampler/own.yaml", RIGHT, None),
        (
            "sampler/own.yaml",
            RIGHT.removeprefix("# Every sample once.\n# What is built.\n"),
            "its first line is no comment",
        ),
        ("sampler/own.yaml", RIGHT.replace("# What is built.\n", ""), "no comment explains _target_"),
        ("sampler/own.yaml", RIGHT.replace("plain.Plain", "smote.Smote"), "it does not list features, run, cap"),
        ("sampler/own.yaml", RIGHT.replace("plain.Plain", "Nothing"), "is refused"),
        ("sampler/own.yaml", RIGHT + "a: [\n", "is not valid YAML"),
        ("experiment/own.yaml", "# @package _global_\n# Ours.\n# Typo.\nsede: 1\n", "did you mean 'seed'"),
        ("trainer/own.yaml", "# Ours.\n# Many.\nepochs: 0\n", "out of range"),
    ],
)
def test_a_wrong_file_is_found_out(path, text, mistake, tmp_path):
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(text)
    (report,) = check_folder(tmp_path)
    assert report.path.as_posix() == path
    assert (mistake is None and not report.mistakes) or any(mistake in told for told in report.mistakes)


def test_the_task_says_which_files_are_wrong(tmp_path, capsys, monkeypatch):
    (tmp_path / "conf" / "sampler").mkdir(parents=True)
    (tmp_path / "conf" / "sampler" / "own.yaml").write_text("_target_: os.system\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["sgexp"])
    assert main(["task=validate", "--config-dir", "conf"]) == 2
    assert "1 of" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["conf"], "validating leaves nothing behind"
