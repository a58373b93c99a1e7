"""A share of a folder's files, for the jobs of an array: ``3/40`` is every fortieth file, from the third on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sgexp.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Share ``number`` (from 1) of ``count`` equal ones."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Return the shard that a checked "3/40" names; None: all."""
        if text is None:
            return WHOLE
        number, _, count = text.partition("/")
        return cls(int(number), int(count))

    @property
    def whole(self) -> bool:
        """Whether this is no share, but all."""
        return self.count == 1

    def share(self, items: Sequence[T]) -> list[T]:
        """Return the items of this share; ``DataError`` where there are too few for it to have any."""
        mine = list(items[self.number - 1 :: self.count])
        if not mine:
            raise DataError(
                f"shard {self.number}/{self.count} has nothing to make: there are {len(items)} files; ask for "
                f"{len(items)} shards at most, or for smaller files with simulation.materials_per_file"
            )
        return mine

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


WHOLE = Shard(1, 1)
