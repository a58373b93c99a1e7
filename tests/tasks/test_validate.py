"""``task=validate`` finds what is wrong in a config file, and nothing in ours."""

import contextlib
import io
import re

import pytest

from sgexp.__main__ import main
from sgexp.tasks.validate import check_folder
from sgexp.usage import CONF_DIR

FILES = sorted(CONF_DIR.rglob("*.yaml"))


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What the task says of our files and of one that is wrong: exit code, table, errors, and what it left behind."""
    folder, out, err = tmp_path_factory.mktemp("validate"), io.StringIO(), io.StringIO()
    (folder / "conf" / "sampler").mkdir(parents=True)
    (folder / "conf" / "sampler" / "own.yaml").write_text("_target_: os.system\n")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr("sys.argv", ["sgexp"])
        patch.setenv("HYDRA_FULL_ERROR", "1")  # as the command leaves it
        code = main(["task=validate", "--config-dir", "conf"])
    return code, out.getvalue(), err.getvalue(), [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("name", [path.relative_to(CONF_DIR).as_posix() for path in FILES])
def test_every_config_file_composes_lists_its_fields_and_explains_itself(name, told):
    (line,) = re.findall(rf"^ *(?:ok|x) {re.escape(name)} .*$", told[1], re.MULTILINE)
    assert line.split()[0] == "ok", line


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


def test_the_task_says_which_files_are_wrong(told):
    code, out, err, left = told
    assert code == 2 and f"1 of {len(FILES) + 1} config files are wrong: sampler/own.yaml" in err
    assert "x sampler/own.yaml" in out and "os.system" in out
    assert left == ["conf"], "validating leaves nothing behind"
