"""Over-sampling by new samples: how many of each class, the rarest first, until the budget is spent."""

import numpy as np

from sgexp.sampling.physical import PATIENCE, Physical
from sgexp.sampling.random_selection import RandomOver

COUNTS = {2: 12, 14: 7, 62: 3, 225: 1}
LABELS = np.repeat(list(COUNTS), list(COUNTS.values()))


def served(budget, make=lambda group, number: (True, 1.0), balance="majority", table=None):
    return Physical(balance, 5, table or {}, budget).serve(LABELS, make)


def test_all_that_is_wanted_is_what_random_over_sampling_adds():
    for balance in ("majority", "sqrt", "median", "cap", "table"):
        found = served(1e9, balance=balance, table={225: 6})
        over = RandomOver(balance, 5, {225: 6}).plan(LABELS, LABELS, None, 0).drawn_counts(LABELS)
        groups, counts = np.unique([group for group, _ in found.made], return_counts=True)
        assert dict(zip(groups.tolist(), counts.tolist(), strict=True)) == {
            group: n - COUNTS[group] for group, n in over.items() if n > COUNTS[group]
        }
        assert not found.spent and not found.given_up


def test_a_budget_serves_the_rarest_first_and_evenly():
    for budget in range(1, 24):
        made = served(budget).made
        assert len(made) == min(budget, 25)
        counts = COUNTS | {group: COUNTS[group] + sum(one == group for one, _ in made) for group, _ in made}
        raised = [counts[group] for group in dict(made)]
        lowest = min(counts.values())
        assert max(raised) - lowest <= 1  # nobody is raised above one who waits
        assert all(counts[group] >= lowest for group in COUNTS)
        assert made == served(23).made[:budget]  # more seconds only ever add


def test_costs_of_failures_count_and_the_last_one_may_go_beyond():
    found = served(2.5)
    assert len(found.made) == 3 and found.seconds == 3.0 and found.spent
    found = served(1e9, lambda group, number: (group != 225, 0.5))
    assert found.given_up == (225,) and not found.spent
    assert found.seconds == 0.5 * (5 + 9 + PATIENCE)
    odd = served(1e9, lambda group, number: (number % 2 == 1, 1.0))
    assert [number for group, number in odd.made if group == 14] == [1, 3, 5, 7, 9]


def test_no_seconds_and_nothing_wanted():
    assert served(0.0).made == () and served(0.0).spent
    assert served(9.0, balance="table", table={2: 12}).wanted == {}
