"""The 230 space groups and their families, crystals, CIF reading, the built-in library and populations made from it.

Below every room that knows about diffraction or learning: NumPy, gemmi and spglib, no torch.
"""
