"""What can be chosen, asked of the records themselves: metrics, algorithms, policies, estimators."""

from __future__ import annotations

import json
from typing import Any

from pixelplum.core.bandit.off_policy import ESTIMATORS
from pixelplum.core.bandit.policies import POLICIES
from pixelplum.core.classifiers.training import ALGORITHMS as CLASSIFIERS
from pixelplum.core.clustering.algorithms import ALGORITHMS as CLUSTERINGS
from pixelplum.core.clustering.maps import MAPS
from pixelplum.core.search.indexes import INDEXES
from pixelplum.core.search.metrics import METRICS
from pixelplum.core.users.algorithms import ALGORITHMS as USER_MODELS

KINDS: dict[str, dict[str, Any]] = {
    "metric": METRICS,
    "index": INDEXES,
    "classifier": CLASSIFIERS,
    "clustering": CLUSTERINGS,
    "map": MAPS,
    "policy": POLICIES,
    "estimator": ESTIMATORS,
    "user model": USER_MODELS,
}


def list_algorithms(plpy, cache: dict) -> list[tuple[str, str, str, str]]:
    """Return kind, name, summary, and as JSON the parameters with their defaults, of all that can be chosen."""
    return [
        (kind, name, _summary(record), json.dumps(_defaults(record)))
        for kind, records in KINDS.items()
        for name, record in records.items()
    ]


def algorithms_with(plpy, cache: dict, kind: str, properties: list[str]) -> list[str]:
    """Return the names of a kind that have all of some properties; ``not x`` is to lack x."""
    return [name for name, record in KINDS[kind].items() if all(_has(record, each) for each in properties)]


def _has(record: Any, wanted: str) -> bool:
    name = wanted.removeprefix("not ")
    return bool(getattr(record, name)) == (name == wanted)


def _summary(record: Any) -> str:
    return getattr(record, "summary", None) or (record.__doc__ or "").strip().splitlines()[0].rstrip(".")


def _defaults(record: Any) -> dict:
    return {name: parameter.default for name, parameter in getattr(record, "parameters", {}).items()}
