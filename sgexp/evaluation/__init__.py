"""From predictions to figures with intervals, and the baselines beside them: NumPy and scikit-learn, no torch."""
