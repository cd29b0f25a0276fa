"""How sure a median is."""

import math
from collections.abc import Sequence

CONFIDENCE = 0.95


def of_median(values: Sequence[float]) -> tuple[float, float]:
    """The interval between two of the values that holds the median of what they are drawn from, with a
    probability of CONFIDENCE at least, whatever its distribution; from the lowest to the highest where there
    are fewer than six, which is less sure. Raises ValueError without a value.

    That fewer than `k` of `n` independent values lie below the median is as likely as fewer than `k` heads of
    `n` tosses of a coin, and the same holds above.
    """
    if not values:
        raise ValueError("no median without a value")
    ordered = sorted(values)
    tosses = 2 ** len(ordered)
    heads, outside = 0, 1
    while 2 * outside <= (1 - CONFIDENCE) * tosses:
        heads += 1
        outside += math.comb(len(ordered), heads)
    return ordered[max(0, heads - 1)], ordered[len(ordered) - max(1, heads)]
