"""Named crystals in files and in the terminal: no formula from a file's name, all notes, no group torn in two."""

import csv
import json

import numpy as np
import pytest

from sgexp.report.answer_files import Answer, AnswerFiles
from sgexp.report.answers import answers_table

from .test_report import text_of

CLASSES = np.array([14, 19, 62, 141, 194])


def answer(file, key=""):
    return Answer(file, key, 3, CLASSES, np.array([0.4, 0.3, 0.15, 0.1, 0.05]), calibrated=True)


def table(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_names_from_files_are_no_formulas_in_the_tables_and_unchanged_in_the_json(tmp_path):
    with AnswerFiles(tmp_path, {}) as out:
        out.write([answer("=HYPERLINK(1).npy", "@key"), answer("plain.npy", "-3")])
        out.write([Answer("+cmd.npy", "-key", 0, reason="=reason")])
    hostile, plain = table(tmp_path / "predictions.csv")
    assert (hostile["file"], hostile["key"]) == ("'=HYPERLINK(1).npy", "'@key")
    assert (plain["file"], plain["key"]) == ("plain.npy", "-3")
    assert list(table(tmp_path / "refused.csv")[0].values()) == ["'+cmd.npy", "'-key", "'=reason"]
    entries = json.loads((tmp_path / "predictions.json").read_text())["crystals"]
    assert [entry["file"] for entry in entries] == ["=HYPERLINK(1).npy", "plain.npy"]


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_json_has_the_notes_of_the_whole_input_also_after_ctrl_c(tmp_path, interrupted):
    notes = ["known at once"]

    def name_crystals():
        with AnswerFiles(tmp_path, {"temperature": 1.0}, lambda: notes) as out:
            out.write([answer("a.npy")])
            notes.append("seen on the way")
            if interrupted:
                raise KeyboardInterrupt

    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            name_crystals()
    else:
        name_crystals()
    entries = json.loads((tmp_path / "predictions.json").read_text())
    assert entries["notes"] == ["known at once", "seen on the way"] and entries["temperature"] == 1.0
    assert len(entries["crystals"]) == 1


def test_a_narrow_terminal_keeps_group_and_number_together_and_shows_the_whole_file_name():
    name = "a_long_name_of_a_file_from_the_microscope_2024-01-31_without_blanks.npy"
    lines = text_of(answers_table([answer(name)], 1), width=80).splitlines()
    for words in ("P2_1/c (14)", "P2_12_12_1 (19)", "I4_1/amd (141)", "P6_3/mmc (194)"):
        assert any(words in line for line in lines), lines
    assert max(map(len, lines)) <= 80
    first = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert name in first
