"""Hydra finds the launcher below this package; ``hydra_plugins`` itself is shared by many packages and has no init."""
