"""Search with Optuna: which choices to try next, what became of each trial, and which were best on validation.

A trial is a job of a sweep, in a process of its own. The memory of a search is Optuna's storage; ``search.json`` tells
the same to whoever has no Optuna. Only modules that ask Optuna import it, and only when they are called.
"""
