"""Which algorithm suits a user: split first, balance inside the folds, choose by AUC, and leave the test alone."""

from __future__ import annotations

import itertools
import time

import numpy as np
from sklearn.model_selection import StratifiedKFold, train_test_split

from pixelplum.core.users.algorithms import SIMPLE
from pixelplum.core.users.left_out import auc
from pixelplum.core.users.votes import Votes
from pixelplum.errors import PixelplumError, UnusableArgument, shown

BALANCES = ("none", "oversample", "class_weight")
SEARCHES = ("grid", "random")
RANDOM_TRIES = 3
FOLDS = 5


def check(algorithms: list[str], balances: list[str], search: str) -> None:
    """Refuse what cannot be compared.

    Raises
    ------
    UnusableArgument
    """
    for algorithm in algorithms or [None]:
        if algorithm not in SIMPLE:
            raise UnusableArgument(
                f"algorithms must be some of {', '.join(SIMPLE)}, not {shown(algorithm)}",
                hint="Leave it out to compare the usual ones.",
            )
    for balance in balances or [None]:
        if balance not in BALANCES:
            raise UnusableArgument(
                f"balance must be some of {', '.join(BALANCES)}, not {shown(balance)}", hint="Leave it out to try all."
            )
    if search not in SEARCHES:
        raise UnusableArgument(
            f"search must be one of {', '.join(SEARCHES)}, not {shown(search)}", hint="Leave it out to have grid."
        )


def oversample(votes: Votes, random: np.random.Generator) -> Votes:
    """Repeat votes of the rarer kind, drawn at random, until both kinds are as many."""
    likes, dislikes = np.flatnonzero(votes.liked), np.flatnonzero(~votes.liked)
    rare, common = sorted((likes, dislikes), key=len)
    return votes.take(np.concatenate([common, rare, random.choice(rare, len(common) - len(rare))]))


def candidates(algorithm: str, balance: str, search: str, random: np.random.Generator) -> list[dict]:
    """Return the parameters that are tried for an algorithm."""
    chosen = SIMPLE[algorithm]
    fixed = {name: parameter.default for name, parameter in chosen.parameters.items()}
    if "class_weight" in fixed:
        fixed["class_weight"] = "balanced" if balance == "class_weight" else None
    tried = [fixed | dict(zip(chosen.grid, values, strict=True)) for values in itertools.product(*chosen.grid.values())]
    if search == "random" and len(tried) > RANDOM_TRIES:
        return [tried[position] for position in random.choice(len(tried), RANDOM_TRIES, replace=False)]
    return tried


def cross_validate(votes: Votes, algorithm: str, parameters: dict, balance: str, seed: int) -> float:
    """Return the mean AUC of decision scores over folds, each with likes and dislikes; votes are balanced inside them.

    Parameters
    ----------
    votes : Votes
        At least two likes and two dislikes.
    algorithm, parameters
        As for `Algorithm.train`.
    balance : {'none', 'oversample', 'class_weight'}
    seed : int
    """
    folds = min(FOLDS, int(votes.liked.sum()), int((~votes.liked).sum()))
    random = np.random.default_rng(seed)
    scores = []
    for train, test in StratifiedKFold(folds, shuffle=True, random_state=seed).split(votes.values, votes.liked):
        own = votes.take(train)
        model = fit(oversample(own, random) if balance == "oversample" else own, algorithm, parameters)
        scores.append(auc(model.scores(votes.directions[test]), votes.liked[test]))
    return float(np.mean(scores))


def fit(votes: Votes, algorithm: str, parameters: dict):
    """Train a model, without measuring how it does."""
    return SIMPLE[algorithm].fit(votes, parameters)


def compare(votes: Votes, size: int, algorithms: list[str], balances: list[str], search: str, seed: int) -> list[dict]:
    """Compare algorithms on one user's votes.

    Parameters
    ----------
    votes : Votes
        More than `size`.
    size : int
        Votes to train on, chosen at random with their fraction of likes; the others are the test.
    algorithms, balances, search
        As `check` lets through.
    seed : int
        Of the split, the folds, and what is drawn.

    Returns
    -------
    list of dict
        For each algorithm and balance: algorithm, balance, likes (trained on), test_auc, cv_auc, fit_seconds,
        predict_seconds, parameters; or reason.
    """
    pairs = [{"algorithm": algorithm, "balance": balance} for algorithm in algorithms for balance in balances]
    kinds = min(int(votes.liked.sum()), int((~votes.liked).sum()))
    if kinds < 3:
        return [pair | {"likes": None, "reason": "fewer than three likes, or three dislikes"} for pair in pairs]
    if len(votes.values) < size + 2:
        return [pair | {"likes": None, "reason": "too few likes or dislikes to split"} for pair in pairs]
    train, test = train_test_split(
        np.arange(len(votes.values)), train_size=size, random_state=seed, stratify=votes.liked
    )
    training, held_out = votes.take(train), votes.take(test)
    likes = int(training.liked.sum())
    if min(likes, len(train) - likes) < 2 or not 0 < held_out.liked.sum() < len(test):
        return [pair | {"likes": likes, "reason": "too few likes or dislikes to split"} for pair in pairs]
    return [pair | {"likes": likes} | _measure(training, held_out, **pair, search=search, seed=seed) for pair in pairs]


def _measure(training: Votes, held_out: Votes, algorithm: str, balance: str, search: str, seed: int) -> dict:
    random = np.random.default_rng(seed)
    if balance == "class_weight" and "class_weight" not in SIMPLE[algorithm].parameters:
        return {"reason": f"{algorithm} has no class weights"}
    try:
        tried = [
            (cross_validate(training, algorithm, parameters, balance, seed), -position, parameters)
            for position, parameters in enumerate(candidates(algorithm, balance, search, random))
        ]
        cv_auc, _, parameters = max(tried, key=lambda each: each[:2])
        begun = time.perf_counter()
        model = fit(oversample(training, random) if balance == "oversample" else training, algorithm, parameters)
        fitted = time.perf_counter()
        scores = model.scores(held_out.directions)
        predicted = time.perf_counter()
    except (PixelplumError, ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        return {"reason": str(error)}
    return {
        "test_auc": auc(scores, held_out.liked), "cv_auc": cv_auc, "fit_seconds": fitted - begun,
        "predict_seconds": predicted - fitted, "parameters": parameters,
    }  # fmt: skip
