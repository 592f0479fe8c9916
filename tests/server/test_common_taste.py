"""How well tastes are learned on real photographs, through SQL."""

from pathlib import Path

import pytest

from benchmarks.tools import Bench
from benchmarks.user_models import aucs


@pytest.mark.exhaustive
def test_tastes_of_photographs(photographs):
    """Users like two of ten labels, and one vote in ten is flipped: AUC against the true taste on unseen items."""
    bench = Bench(photographs.dsn(), Path("/nonexistent"))
    alone = aucs(bench, 40, None, ("rules", "nearest"))
    assert alone["rules"] >= 0.744
    assert alone["nearest"] > 0.72
    for votes in (40, 10, 5):
        shared = aucs(bench, votes, 5, ("logistic", "hierarchical"))
        assert shared["hierarchical"] >= shared["logistic"] + 0.02, votes
