"""Structure families where a file does not give them: a proxy from what SMC-19's headers say.

Atom positions are not stored in SMC-19, so that structures cannot be matched. The proxy joins materials of one space
group (enantiomorphic pairs merged), one anonymised formula, and like axial ratios and angles. It may split a family
whose members straddle a rounding step and may join unlike structures: results say that families are a proxy.
"""

from __future__ import annotations

import math
import re
from functools import cache, reduce

from sgexp.crystallography.groups import merged_219
from sgexp.data.samples import Triple

RATIO_STEP = 0.1  # in the natural logarithm of an axial ratio: steps of about 10 %
ANGLE_STEP = 5.0  # degrees


def is_proxy(family: str) -> bool:
    """Say whether a family's name is one that ``proxy_family`` makes."""
    return re.match(r"\d{1,3}\|", family) is not None


@cache
def anonymised_formula(formula: str) -> str:
    """Return the reduced amounts in ascending order, without the elements: 'Fe8 O14 F2' -> '1-4-7'."""
    amounts = [float(number or 1) for number in re.findall(r"[A-Z][a-z]?\s*(\d*\.?\d*)", formula)]
    if not amounts:
        return formula
    if all(amount.is_integer() and amount > 0 for amount in amounts):
        divisor = reduce(math.gcd, (int(amount) for amount in amounts))
        return "-".join(str(amount) for amount in sorted(int(amount) // divisor for amount in amounts))
    return "-".join(f"{amount:g}" for amount in sorted(amounts))


def proxy_family(space_group: int, formula: str, abc: Triple | None, angles: Triple | None) -> str:
    """Return the proxy family's key, e.g. '14|1-4-7|0,-3|90,90,105'; unusable cells give 'no cell'."""
    shape = "no cell"
    if abc is not None and angles is not None:
        ratios = (math.log(abc[1] / abc[0]), math.log(abc[2] / abc[0]))
        shape = ",".join(str(round(ratio / RATIO_STEP)) for ratio in ratios) + "|"
        shape += ",".join(str(round(angle / ANGLE_STEP) * int(ANGLE_STEP)) for angle in angles)
    return f"{int(merged_219[space_group])}|{anonymised_formula(formula)}|{shape}"
