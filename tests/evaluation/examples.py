"""Predictions made by hand or at random for the tests of this folder."""

import numpy as np

from sgexp.evaluation.predictions import Predictions


def random_predictions(seed, n_families=40, n_classes=25, skill=2.0, largest_family=8):
    """Predictions whose families differ in size and skill; some classes are absent from the labels."""
    rng = np.random.default_rng(seed)
    classes = np.sort(rng.choice(np.arange(1, 231), n_classes, replace=False))
    frequent = rng.zipf(1.3, n_families) % n_classes
    family = np.repeat(np.arange(n_families), rng.integers(1, largest_family + 1, n_families))
    column = frequent[family]
    logits = rng.normal(size=(len(family), n_classes)).astype(np.float32)
    logits[np.arange(len(family)), column] += (skill * rng.normal(0.7, 1, n_families))[family]
    return predictions(classes[column], logits, classes, family=np.char.add("f", family.astype(str)))


def predictions(label, logits, classes, family=None, material=None):
    """Predictions with the columns that do not matter filled in."""
    n = len(label)
    return Predictions(
        row=np.arange(n),
        key=[f"sample_{i}" for i in range(n)],
        material=[f"m{i}" for i in range(n)] if material is None else material,
        family=[f"f{i}" for i in range(n)] if family is None else family,
        energy_kev=np.full(n, 100.0),
        label=label,
        logits=logits,
        classes=classes,
    )


def confident(label, predicted, classes, **columns):
    """Predictions that are sure of ``predicted``."""
    logits = 9.0 * (np.asarray(predicted)[:, np.newaxis] == np.asarray(classes))
    return predictions(np.asarray(label), logits, classes, **columns)
