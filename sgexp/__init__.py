"""sgexp: honest experiments on naming a crystal's space group from its diffraction patterns."""

__version__ = "0.1.0"
