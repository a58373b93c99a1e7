"""Config files read once: composing a second config takes half the time of the first.

Hydra reads and parses some forty files for every config that it composes. A sweep checks a config a job, and
``task=validate`` one a file, so what was read is kept, and every composition is handed copies of it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.plugins.config_source import ConfigResult


class ReadOnce(ConfigRepository):
    """Hydra's repository of config files, which parses each but once: files are not to change while it lives."""

    def initialize_sources(self, config_search_path: Any) -> None:
        """Look in the folders of ``config_search_path``, and forget what other folders held."""
        super().initialize_sources(config_search_path)
        self._read: dict[str, ConfigResult | None] = {}

    def load_config(self, config_path: str) -> ConfigResult | None:
        """Return a copy of what a file says, which the caller may change; None if there is no such file."""
        if config_path not in self._read:
            self._read[config_path] = super().load_config(config_path)
        read = self._read[config_path]
        return None if read is None else replace(read, config=copy.deepcopy(read.config))

    def __deepcopy__(self, memo: dict[int, Any]) -> ReadOnce:
        """Return itself: Hydra copies the repository for each composition, and what was read is for all of them."""
        return self
