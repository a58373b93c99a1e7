"""Hydra finds the sweeper below this package; ``hydra_plugins`` itself is shared by many packages and has no init."""
