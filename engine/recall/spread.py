"""How a query's cosines spread over the memories, and how many nats of evidence one cosine among them is worth.

The cosine as such would not do: among memories on one subject .5 is ordinary, among mixed ones it is a find. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, fsum, log, log1p, sqrt

STANDING_OUT = 5.2
"""What evidence is measured by. The best of N chance texts has a z² near 2 ln N; at z² = 5.2 ln N the evidence is one nat."""

PRIOR_MEMORIES = 10
PRIOR_MEAN = 0.1
PRIOR_DEVIATION = 0.1
"""What MiniLM's cosines look like before there are memories enough to measure them: counted as so many memories more."""

_Z_MAX = 100.0  # keeps exp() in range; no cosine stands out that far


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How the query's cosines spread over the memories searched, or over a sample of them taken blindly."""

    count: int = 0
    """How many cosines were measured. 0: nothing is known, the prior stands alone."""
    mean: float = 0.0
    deviation: float = 0.0
    """The standard deviation, dividing by ``count``."""

    @classmethod
    def of(cls, cosines: Sequence[float]) -> Spread:
        """Measure ``cosines``, one for each memory (its best passage's)."""
        count = len(cosines)
        if count == 0:
            return cls()
        mean = fsum(cosines) / count
        return cls(count=count, mean=mean, deviation=sqrt(fsum((cosine - mean) ** 2 for cosine in cosines) / count))


@dataclass(frozen=True, slots=True)
class Scale:
    """What the evidence of a cosine is measured by."""

    mean: float
    deviation: float
    nat: float
    """The value of p(z)² that is worth one nat."""

    @classmethod
    def of(cls, spread: Spread) -> Scale:
        """Return the scale for a spread.

        The mean, the deviation and N count ``PRIOR_MEMORIES`` more memories of the prior's kind: in a store with three
        memories nothing can stand out by itself.
        """
        total = spread.count + PRIOR_MEMORIES
        mean = (spread.count * spread.mean + PRIOR_MEMORIES * PRIOR_MEAN) / total
        variance = (spread.count * spread.deviation**2 + PRIOR_MEMORIES * PRIOR_DEVIATION**2) / total
        return cls(mean, sqrt(variance), STANDING_OUT * log(total))

    def evidence(self, cosine: float) -> float:
        """Return ``p(z)² / (STANDING_OUT * ln N)`` nats: how far the cosine stands out among all memories'.

        ``z`` is the cosine's distance from the mean in standard deviations; ``p(z) = ln(1 + exp z)`` is z where that is large
        and stays above 0 where it is not, so that what lies below the mean keeps its order.
        """
        z = (cosine - self.mean) / self.deviation
        # Written out, for a search does it some hundreds of times: calls of min and max take longer than the logarithm.
        z = _Z_MAX if z > _Z_MAX else -_Z_MAX if z < -_Z_MAX else z
        positive = z + log1p(exp(-z)) if z > 0.0 else log1p(exp(z))
        return positive * positive / self.nat
