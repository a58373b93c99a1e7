"""The datasheet of an archive: the questions of Gebru et al. (2021), answered for the data at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

import sgexp
from sgexp.data.catalog import Catalog
from sgexp.report.rendering import asset
from sgexp.schema import Component


def datasheet(title: str, catalog: Catalog, counts: Mapping[str, int], simulation: Any | None, url: str | None) -> str:
    """Return Markdown; ``counts``: part -> samples; ``simulation``: its settings, None for files that were given."""
    return (
        Environment(undefined=StrictUndefined, trim_blocks=True, autoescape=False, keep_trailing_newline=True)
        .from_string(asset("datasheet.md"))
        .render(
            title=title,
            sgexp=sgexp.__version__,
            fingerprint=catalog.fingerprint,
            samples=f"{len(catalog):,}",
            materials=f"{len(np.unique(catalog.material)):,}",
            families=f"{len(np.unique(catalog.family)):,}",
            groups=len(np.unique(catalog.space_group)),
            pixels=int(catalog.pixels.max()),
            counts=", ".join(f"{count:,} in {part}" for part, count in counts.items()),
            set_aside=f"{len(catalog.bad):,}" if catalog.bad else "",
            url=url,
            **_settings(simulation),
        )
    )


def _settings(simulation: Any | None) -> dict[str, Any]:
    if simulation is None:
        unknown = dict.fromkeys(("protocol", "engine", "energies", "box", "grid", "detector", "thermal"), "not known")
        return {**unknown, "probes": 0}

    def name(component: Component) -> str:
        return type(component).target.rpartition(".")[2].lower()

    still = simulation.displacement == 0
    return {
        "protocol": "blind" if isinstance(simulation, Component) else "smc19",
        "engine": name(simulation.engine),
        "detector": name(simulation.detector),
        "energies": ", ".join(f"{energy:g}" for energy in simulation.energies_kev),
        "box": f"{simulation.box:g}",
        "grid": simulation.grid,
        "probes": simulation.probes,
        "thermal": "Atoms are at rest." if still else "One frozen thermal configuration a pattern: speckle.",
    }
