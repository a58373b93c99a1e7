"""From crystals to diffraction patterns: which patterns (protocol), how they are computed (engines), many at once."""
