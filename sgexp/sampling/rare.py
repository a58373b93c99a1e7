"""What is said of classes that are too small for a method, in one wording for all samplers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

NAMED = 12  # groups that a sentence names before it counts the rest


def listed(groups: Iterable[int]) -> str:
    """Return at most twelve group numbers as text."""
    numbers = sorted(groups)
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return ", ".join(map(str, numbers[:NAMED])) + more


def neighbour_notes(used_k: Mapping[int, int], k: int, lonely: str) -> tuple[str, ...]:
    """Say once how many classes had fewer than ``k`` neighbours to mix with, and what was done.

    ``used_k``: label -> neighbours used. ``lonely``: what a class without any neighbour has, such as "a single sample".
    """
    fewer = sum(0 < used < k for used in used_k.values())
    alone = sum(used == 0 for used in used_k.values())
    notes = []
    if fewer:
        notes.append(f"{_classes(fewer)} too few samples for {k} neighbours: as many as there are.")
    if alone:
        notes.append(f"{_classes(alone)} {lonely}: repeated, nothing to mix with.")
    return tuple(notes)


def _classes(n: int) -> str:
    return "1 class has" if n == 1 else f"{n} classes have"
