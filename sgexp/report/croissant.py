"""Croissant metadata of an archive: what its files are, and how the rows of its tables hang together.

Croissant 1.0 (MLCommons, http://mlcommons.org/croissant/1.0) is JSON-LD on schema.org's Dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "equivalentProperty": "cr:equivalentProperty",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

SAMPLES: dict[str, tuple[str, str]] = {
    "id": ("sc:Text", "file/key: where the sample stands, and its name in a file of answers"),
    "file": ("sc:Text", "HDF5 file in data/"),
    "key": ("sc:Text", "HDF5 group of the sample; cbed_stack in it holds three patterns, float32"),
    "material": ("sc:Text", "the crystal; all energies of one lie in one part"),
    "family": ("sc:Text", "structure family: a structure type with all its substituted children and its mirror image"),
    "space_group": ("sc:Integer", "number of the space group, 1 to 230: the answer"),
    "energy_kev": ("sc:Float", "beam energy, keV"),
    "part": ("sc:Text", "train, validation, test_material, test_family; sealed_... are the sealed test's"),
}
CLASSES: dict[str, tuple[str, str]] = {
    "space_group": ("sc:Integer", "number of the space group"),
    "symbol": ("sc:Text", "Hermann-Mauguin symbol"),
    "crystal_system": ("sc:Text", "one of the seven crystal systems"),
    "point_group": ("sc:Text", "one of the 32 point groups"),
}


def croissant(
    title: str,
    description: str,
    version: str,
    date: str,
    url: str | None,
    citation: str,
    files: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the metadata; ``files``: ``name``, ``sha256`` and ``bytes`` of each file of the archive.

    Without ``url`` they name the list of checksums in the folder itself: an archive gives a better one.
    """
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": title,
        "description": description,
        "version": version,
        "datePublished": date,
        "license": "https://spdx.org/licenses/BSD-3-Clause.html",
        "url": url or "SHA256SUMS",
        "citeAs": citation,
        "creator": {"@type": "Organization", "name": "The sgexp developers"},
        "keywords": ["electron diffraction", "CBED", "space group", "crystallography", "class imbalance"],
        "distribution": [_file(file) for file in files],
        "recordSet": [
            _table("samples", "split.csv", "One row a sample.", "id", SAMPLES),
            _table("classes", "classes.csv", "One row a space group.", "space_group", CLASSES),
        ],
    }


def _file(file: Mapping[str, Any]) -> dict[str, Any]:
    formats = {"h5": "application/x-hdf5", "csv": "text/csv", "md": "text/markdown", "json": "application/json"}
    return {
        "@type": "cr:FileObject",
        "@id": file["name"],
        "name": file["name"],
        "contentUrl": file["name"],
        "contentSize": f"{file['bytes']} B",
        "encodingFormat": formats.get(str(file["name"]).rpartition(".")[2], "text/plain"),
        "sha256": file["sha256"],
    }


def _table(name: str, file: str, description: str, key: str, columns: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": description,
        "key": {"@id": f"{name}/{key}"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column}",
                "name": f"{name}/{column}",
                "description": words,
                "dataType": kind,
                "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
            }
            for column, (kind, words) in columns.items()
        ],
    }
