"""Generated tables of the room (package data) and the script that generates them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def read_table(name: str) -> Any:
    """Return the parsed JSON table ``name`` (a file beside this module)."""
    return json.loads(files(__name__).joinpath(name).read_text(encoding="utf-8"))
