"""What substitution and formulas need to know of the elements 1 ... 98, from the generated ``tables/elements.json``."""

from __future__ import annotations

from dataclasses import dataclass

from sgexp.crystallography.tables import read_table


@dataclass(frozen=True)
class Element:
    """A chemical element.

    ``column`` is its IUPAC group, 1 ... 18 (3 for lanthanides and actinides), ``electronegativity`` Pauling's (``None``
    where there is none), ``covalent_radius`` Cordero's in angstrom, ``radioactive`` whether it has no stable isotope.
    """

    z: int
    symbol: str
    column: int
    period: int
    electronegativity: float | None
    covalent_radius: float
    radioactive: bool


ELEMENTS: dict[int, Element] = {row["z"]: Element(**row) for row in read_table("elements.json")}
ATOMIC_NUMBERS: dict[str, int] = {element.symbol: z for z, element in ELEMENTS.items()}


def formula_order(z: int) -> tuple[float, str]:
    """Return the sort key of an element in a formula: electronegativity, then symbol (as Materials Project)."""
    element = ELEMENTS[z]
    return (float("inf") if element.electronegativity is None else element.electronegativity, element.symbol)
