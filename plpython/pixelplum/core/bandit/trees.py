"""Bandits whose arms are leaves of a tree: at every level, one of the branches."""

from __future__ import annotations

import numpy as np

from pixelplum.core.bandit.policies import probabilities


class Tree:
    """Clusters below one another: leaves have votes, and an inner one has those of the leaves below it.

    Parameters
    ----------
    parents : list of (int or None)
        For each node, the position of the one above it; None for those at the top. Without any, all arms are equals.
    """

    def __init__(self, parents: list[int | None]):
        self.parents = parents
        self.children: dict[int | None, list[int]] = {}
        for node, parent in enumerate(parents):
            self.children.setdefault(parent, []).append(node)
        self.is_leaf = np.array([node not in self.children for node in range(len(parents))])
        self._upwards = self._order()[::-1]

    def _order(self) -> list[int]:
        order = list(self.children.get(None, []))
        for node in order:  # grows while it is walked
            order += self.children.get(node, [])
        return order

    def sums(self, numbers: np.ndarray) -> np.ndarray:
        """Add up, for every node, the numbers of the leaves below it; shape (nodes,)."""
        added = np.where(self.is_leaf, numbers, 0)
        for node in self._upwards:
            if self.parents[node] is not None:
                added[self.parents[node]] += added[node]
        return added

    def choose(
        self, policy: str, alpha: np.ndarray, beta: np.ndarray, free: np.ndarray, random: np.random.Generator
    ) -> tuple[int, float, float]:
        """Choose a leaf: at every level, one of the branches that have a free leaf.

        Parameters
        ----------
        policy : str
            As for `probabilities`.
        alpha, beta : numpy.ndarray
            Parameters of the posteriors of all nodes, shape (nodes,).
        free : numpy.ndarray
            bool, shape (nodes,): leaves that may be chosen; at least one.
        random : numpy.random.Generator

        Returns
        -------
        tuple of (int, float, float)
            The leaf, its probability, and the standard error of that.
        """
        open_nodes = self.sums(free.astype(float)) > 0
        node, probability, relative_variance = None, 1.0, 0.0
        while node in self.children:
            branches = np.array([child for child in self.children[node] if open_nodes[child]])
            fractions, errors = probabilities(policy, alpha[branches], beta[branches], random)
            chosen = int(random.choice(len(branches), p=fractions))
            node = int(branches[chosen])
            probability *= float(fractions[chosen])
            relative_variance += float(errors[chosen] / fractions[chosen]) ** 2
        return node, probability, probability * relative_variance**0.5
