"""Patterns added one by one: what was added is there again, whatever happened to the end of the files."""

import numpy as np
import pytest

from sgexp.data.growing import PATTERNS, ROWS, GrowingStore

SHAPE = (3, 4, 4)


@pytest.fixture
def filled(tmp_path):
    store = GrowingStore(tmp_path, SHAPE)
    patterns = np.random.default_rng(0).random((5, *SHAPE)).astype(np.float16)
    for number, one in enumerate(patterns):
        store.add(f"k{number}", {"n": number}, one if number != 2 else None)
    return tmp_path, patterns


def held(folder, key):
    store = GrowingStore(folder, SHAPE)
    place = store.facts[key]["place"]
    return np.fromfile(folder / PATTERNS, "<f2").reshape(-1, *SHAPE)[place]


def test_what_was_added_is_there_again(filled):
    folder, patterns = filled
    facts = GrowingStore(folder, SHAPE).facts
    assert [fact["n"] for fact in facts.values()] == [0, 1, 2, 3, 4] and facts["k2"]["place"] is None
    for number in (0, 1, 3, 4):
        np.testing.assert_array_equal(held(folder, f"k{number}"), patterns[number])


@pytest.mark.parametrize("name", [ROWS, PATTERNS])
@pytest.mark.parametrize("cut", [1, 5, 40])
def test_torn_ends_lose_the_last_one_alone_and_it_can_be_added_again(filled, name, cut):
    folder, patterns = filled
    path = folder / name
    path.write_bytes(path.read_bytes()[:-cut])
    store = GrowingStore(folder, SHAPE)
    lost = {"k4"} if name == PATTERNS or cut > 1 else set()  # a line without its end of line is whole
    assert set(store.facts) == {"k0", "k1", "k2", "k3", "k4"} - lost
    store.add("k4", {"n": 4}, patterns[4])
    for number in (0, 1, 3, 4):
        np.testing.assert_array_equal(held(folder, f"k{number}"), patterns[number])


def test_patterns_that_changed_are_as_none(filled):
    folder, _ = filled
    data = bytearray((folder / PATTERNS).read_bytes())
    data[3] ^= 1
    (folder / PATTERNS).write_bytes(data)
    assert "k0" not in GrowingStore(folder, SHAPE).facts and "k1" in GrowingStore(folder, SHAPE).facts
