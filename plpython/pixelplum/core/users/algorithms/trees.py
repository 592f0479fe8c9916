"""Ensembles of decision trees."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pixelplum.core.parameters import Range
from pixelplum.core.users.algorithms.base import CLASS_WEIGHT, SEED, SimpleAlgorithm
from pixelplum.core.users.models import Boosted, Forest
from pixelplum.core.users.votes import Votes, weights_of


class RandomForest(SimpleAlgorithm):
    """A random forest."""

    name = "random_forest"
    parameters: ClassVar = {
        "n_estimators": Range(100, 1, 1000), "max_depth": Range(None, 1, 20, may_be_null=True),
        "min_samples_leaf": Range(1, 1, 1000), "class_weight": CLASS_WEIGHT,
    }  # fmt: skip
    grid: ClassVar = {"min_samples_leaf": [1, 3]}
    is_slow = True

    def fit(self, votes: Votes, parameters: dict) -> Forest:
        from sklearn.ensemble import RandomForestClassifier

        machine = RandomForestClassifier(
            n_estimators=parameters["n_estimators"], max_depth=parameters["max_depth"],
            min_samples_leaf=parameters["min_samples_leaf"],
            random_state=SEED, n_jobs=1,
        )  # fmt: skip
        machine.fit(
            votes.directions, votes.liked.astype(int), sample_weight=weights_of(votes, parameters["class_weight"])
        )
        trees = [each.tree_ for each in machine.estimators_]
        starts = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])

        def moved(children: list[np.ndarray]) -> np.ndarray:
            parts = [np.where(own < 0, -1, own + start) for own, start in zip(children, starts, strict=True)]
            return np.concatenate(parts).astype(np.int32)

        kinds = np.concatenate([tree.value[:, 0, :] for tree in trees])
        return Forest(
            starts.astype(np.int32), moved([tree.children_left for tree in trees]),
            moved([tree.children_right for tree in trees]),
            np.concatenate([tree.feature for tree in trees]).astype(np.int32),
            np.concatenate([tree.threshold for tree in trees]),
            (kinds[:, 1] / kinds.sum(axis=1)).astype(np.float32),
        )  # fmt: skip


class Xgboost(SimpleAlgorithm):
    """Boosted trees."""

    name = "xgboost"
    parameters: ClassVar = {
        "rounds": Range(50, 1, 1000), "max_depth": Range(3, 1, 20, may_be_null=True),
        "eta": Range(0.1, 1e-6, 1, is_whole=False), "colsample_bytree": Range(0.3, 1e-3, 1, is_whole=False),
        "min_child_weight": Range(0.5, 0, 1e6, is_whole=False), "class_weight": CLASS_WEIGHT,
    }  # fmt: skip
    grid: ClassVar = {"max_depth": [1, 3]}
    is_slow = True

    def fit(self, votes: Votes, parameters: dict) -> Boosted:
        import xgboost

        data = xgboost.DMatrix(
            votes.directions, votes.liked.astype(int), weight=weights_of(votes, parameters["class_weight"]), nthread=1
        )
        booster = xgboost.train(
            {
                "objective": "binary:logistic", "max_depth": parameters["max_depth"], "eta": parameters["eta"],
                "colsample_bytree": parameters["colsample_bytree"], "min_child_weight": parameters["min_child_weight"],
                "nthread": 1, "seed": SEED,
            },
            data, parameters["rounds"],
        )  # fmt: skip
        return Boosted(bytes(booster.save_raw("json")).decode())
