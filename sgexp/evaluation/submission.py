"""A submission: anybody's answers for the samples of a test set, in a file that can run nothing.

docs/score.md shows the formats. Answers are scores for all 230 groups (logits or probabilities), or five groups in
order. What does not fit the test set is refused in one sentence: no answer is ever guessed, left out or counted twice.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sgexp.errors import DataError
from sgexp.evaluation.predictions import COLUMNS, Predictions
from sgexp.npz import MOST_BYTES, load_arrays

GROUPS = np.arange(1, 231)
RANKS = ("rank1", "rank2", "rank3", "rank4", "rank5")
KINDS = ("logits", "probabilities", "ranked")
_SUM_TOLERANCE = 1e-3
_SMALLEST = 1e-30  # a probability of 0 becomes a finite logit
_OWN = (*COLUMNS, "classes")  # what a run's predictions_test.npz holds


@dataclass(frozen=True)
class Answers:
    """What a file says: ids (N,), and scores (N, K) over ``classes`` (K,), or ranked groups (N, 5).

    ``own``: the predictions that sgexp wrote, whose rows are those of the catalog and stand in place of ids.
    """

    path: Path
    kind: str
    ids: np.ndarray
    values: np.ndarray
    classes: np.ndarray
    fingerprint: str | None = None
    own: Predictions | None = None


@dataclass(frozen=True)
class TestSet:
    """What is to be answered: an id a sample, and predictions without answers (labels, families, rows)."""

    __test__ = False  # for pytest, which collects classes of this name

    ids: np.ndarray
    samples: Predictions

    @property
    def fingerprint(self) -> str:
        """Sixteen digits of ids, materials, families, energies and labels: equal wherever the recipe was followed."""
        columns = (self.samples.material, self.samples.family, self.samples.energy_kev, self.samples.label)
        order = np.argsort(self.ids)
        digest = hashlib.sha256(b"sgexp test set 1")
        for column in (self.ids, *columns):
            digest.update("\n".join(map(str, column[order].tolist())).encode() + b"\0")
        return digest.hexdigest()[:16]

    def answered(self, answers: Answers) -> Predictions:
        """Return the answers as predictions in the order of ``ids``; a `DataError` says what does not fit."""
        if answers.fingerprint is not None and answers.fingerprint != self.fingerprint:
            raise DataError(
                f"{answers.path} answers the test set {answers.fingerprint[:40]!r}, this one is {self.fingerprint!r}: "
                "give the choices (benchmark, size, dataset, split) that it was made for"
            )
        if answers.own is not None:
            return self._own(answers)
        order = self._order(answers.ids, answers.path)
        values = answers.values[order]
        _refuse_unusable(answers, values, self.ids)
        return replace(self.samples, logits=_as_logits(answers.kind, values), classes=answers.classes)

    def _order(self, ids: np.ndarray, path: Path) -> np.ndarray:
        """Return where each of our ids stands among those of the file: each exactly once, and no others."""
        unique, counts = np.unique(ids, return_counts=True)
        faults = (
            ("are answered more than once", unique[counts > 1]),
            ("are not in this test set", np.setdiff1d(unique, self.ids)),
            ("of the test set are not answered", np.setdiff1d(self.ids, unique)),
        )
        for what, wrong in faults:
            if len(wrong):
                raise DataError(
                    f"{path}: {len(wrong):,} samples {what}, such as {str(wrong[0])[:80]!r}: answer each of the "
                    f"{len(self.ids):,} samples exactly once"
                )
        order = np.argsort(ids)
        return order[np.searchsorted(ids[order], self.ids)]

    def _own(self, answers: Answers) -> Predictions:
        """Match a run's own predictions by row, and hold each against what the row is."""
        own, samples = answers.own, self.samples
        assert own is not None
        row_ids = dict(zip(samples.row.tolist(), self.ids.tolist(), strict=True))
        ids = np.array([row_ids.get(row, f"row {row}") for row in own.row.tolist()], dtype=np.str_)
        found = own.take(self._order(ids, answers.path))
        for column in ("key", "material", "label", "energy_kev"):
            mine, theirs = getattr(samples, column), getattr(found, column)
            unequal = np.flatnonzero(~((mine == theirs) | ((mine != mine) & (theirs != theirs))))
            if len(unequal):
                raise DataError(
                    f"{answers.path} was made for other data: the {column} of {len(unequal):,} samples differs, first "
                    f"in row {samples.row[unequal[0]]}"
                )
        _refuse_unusable(answers, found.logits, self.ids)
        return replace(samples, logits=found.logits, classes=own.classes)


def read_answers(path: Path) -> Answers:
    """Read a submission, npz or CSV by its name's ending; a damaged or malformed one is a `DataError`."""
    if not path.is_file():
        raise DataError(f"there is no file {path}: give the submission as task.submission=FILE.npz or FILE.csv")
    if path.suffix == ".npz":
        return _from_npz(path)
    if path.suffix == ".csv":
        return _from_csv(path)
    raise DataError(f"{path} is no submission: its name must end in .npz or .csv")


def _from_npz(path: Path) -> Answers:
    arrays = load_arrays(path)
    if "id" not in arrays and set(_OWN) <= set(arrays):
        own = Predictions.load(path)
        return Answers(path, "logits", own.key, own.logits, own.classes, None, own)
    kinds = [kind for kind in KINDS if kind in arrays]
    if "id" not in arrays or len(kinds) != 1:
        raise DataError(
            f"{path} must hold the array 'id' and one of {', '.join(map(repr, KINDS))}; it holds "
            f"{', '.join(sorted(name[:40] for name in arrays)[:10]) or 'nothing'}"
        )
    kind, ids = kinds[0], arrays["id"]
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise DataError(f"{path}: 'id' must be one row of texts, not {ids.dtype} of shape {ids.shape}")
    classes = arrays.get("classes", GROUPS)
    values = arrays[kind]
    if classes.ndim != 1 or classes.dtype.kind not in "iu" or len(np.unique(classes)) != len(classes):
        raise DataError(f"{path}: 'classes' must be different space-group numbers, one a column")
    if len(classes) == 0 or classes.min() < 1 or classes.max() > 230:
        raise DataError(f"{path}: 'classes' must be space-group numbers, from 1 to 230")
    _refuse_shape(path, kind, values, len(ids), len(classes))
    fingerprint = str(arrays["fingerprint"]) if "fingerprint" in arrays else None
    return Answers(path, kind, ids, values, GROUPS if kind == "ranked" else classes.astype(np.int64), fingerprint)


def _refuse_shape(path: Path, kind: str, values: np.ndarray, samples: int, width: int) -> None:
    expected = (samples, len(RANKS) if kind == "ranked" else width)
    if values.shape != expected or values.dtype.kind not in ("iu" if kind == "ranked" else "fiu"):
        raise DataError(
            f"{path}: {kind!r} must be {'whole ' if kind == 'ranked' else ''}numbers of shape {expected} (a row a "
            f"sample, a column {'a rank' if kind == 'ranked' else 'a space group'}), not {values.dtype} of "
            f"{values.shape}"
        )


def _from_csv(path: Path) -> Answers:
    """Read a table: a line ``# fingerprint: ...`` where there is one, the header, a line a sample."""
    if path.stat().st_size > MOST_BYTES:
        raise DataError(f"{path} is larger than {MOST_BYTES // 1024**3} GiB: it is no submission")
    fingerprint = None
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            start = 0
            while (line := stream.readline(1000)).startswith("#"):
                name, _, value = line.lstrip("# ").partition(":")
                if name.strip() == "fingerprint":
                    fingerprint = value.strip()
                start = stream.tell()
            stream.seek(start)
            rows = csv.reader(stream)
            columns = _columns(path, next(rows, []))
            kind = "ranked" if len(columns) == len(RANKS) else "scores"
            ids, values = _table(path, rows, columns)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is no table of text"
        raise DataError(f"{path} cannot be read: {reason}") from error
    if kind == "ranked":
        whole = np.where(np.isfinite(values), values, 0).astype(np.int64)
        if not np.array_equal(whole, values):
            raise DataError(f"{path}: ranks must be space-group numbers, from 1 to 230")
        return Answers(path, kind, ids, whole, GROUPS, fingerprint)
    sums = values.sum(axis=1)
    is_probability = bool((values >= 0).all() and (np.abs(sums - 1) <= _SUM_TOLERANCE).all())
    return Answers(path, "probabilities" if is_probability else "logits", ids, values, GROUPS, fingerprint)


def _columns(path: Path, header: Sequence[str]) -> list[int]:
    """Return where the ranks, or groups 1 to 230, stand in a row; ``id`` is the first column."""
    names = [name.strip() for name in header]
    if names[:1] != ["id"]:
        raise DataError(f"{path}: the first column must be called 'id', not {(names or [''])[0][:40]!r}")
    for wanted in (list(RANKS), [str(group) for group in GROUPS.tolist()]):
        if sorted(names[1:]) == sorted(wanted):
            return [names.index(name) for name in wanted]
    raise DataError(
        f"{path} has {len(names) - 1} columns beside 'id': they must be rank1 ... rank5, or the space groups 1 ... 230"
    )


def _table(path: Path, rows: Iterator[list[str]], columns: list[int]) -> tuple[np.ndarray, np.ndarray]:
    ids, values = [], []
    for row in rows:
        if not row:
            continue
        if len(row) != len(columns) + 1:
            raise DataError(f"{path}: the row of {row[0][:80]!r} has {len(row)} columns, not {len(columns) + 1}")
        try:
            values.append(np.array([row[column] for column in columns], dtype=np.float64))
        except ValueError:
            raise DataError(f"{path}: the row of {row[0][:80]!r} holds something that is no number") from None
        ids.append(row[0])
    return np.array(ids, dtype=np.str_), np.array(values).reshape(len(ids), len(columns))


def _refuse_unusable(answers: Answers, values: np.ndarray, ids: np.ndarray) -> None:
    """Refuse numbers that are no scores, probabilities or ranks, naming the first sample that has them."""
    if answers.kind == "ranked":
        ordered = np.sort(values, axis=1)
        bad = (ordered[:, 0] < 1) | (ordered[:, -1] > 230) | (np.diff(ordered, axis=1) == 0).any(axis=1)
        what = "not five different space groups from 1 to 230"
    else:
        with np.errstate(over="ignore"):  # too large for single precision is as bad as infinite
            bad, what = ~np.isfinite(values.astype(np.float32)).all(axis=1), "not all finite numbers"
        if not bad.any() and answers.kind == "probabilities":
            bad = (values < 0).any(axis=1) | (np.abs(values.sum(axis=1) - 1) > _SUM_TOLERANCE)
            what = "no probabilities: negative, or not adding up to 1"
    if bad.any():
        raise DataError(
            f"{answers.path}: the answers for {np.count_nonzero(bad):,} of {len(values):,} samples are {what}, first "
            f"for {str(ids[np.flatnonzero(bad)[0]])[:80]!r}"
        )


def _as_logits(kind: str, values: np.ndarray) -> np.ndarray:
    if kind == "probabilities":
        return np.log(np.maximum(values, _SMALLEST))
    if kind == "logits":
        return values
    logits = np.zeros((len(values), len(GROUPS)))
    np.put_along_axis(logits, values.astype(np.int64) - 1, np.arange(len(RANKS), 0, -1.0)[np.newaxis], axis=1)
    return logits
