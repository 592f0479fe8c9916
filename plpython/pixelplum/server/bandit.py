"""Which cluster to show next, and which item of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pixelplum.core.bandit import policies
from pixelplum.core.bandit.trees import Tree
from pixelplum.core.search import vectors
from pixelplum.core.users import candidates, models
from pixelplum.errors import FilesVanish
from pixelplum.server.blocks import ATTEMPTS, Packed, keep, kept, open_index, restore_blocks
from pixelplum.server.current_models import CurrentModel, State, current_model, open_taste, read_state
from pixelplum.server.current_models import keep as keep_model
from pixelplum.server.database import Database
from pixelplum.server.drivers import driver
from pixelplum.server.recommendations import opened
from pixelplum.server.vectors import places_of

FEW = 8
"""Items of a cluster, more than are wanted, that may turn out to be excluded."""
SPARE, WIDER = 4, 16
"""Items, more than are wanted, that may turn out to be gone or to look different; and how many times more then."""
MOST_VOTES = 200
"""The latest, that items are compared with."""
WORDS = 3
"""That name a cluster in a reason."""

CLUSTERING = """
SELECT pix_internal.check_clustering(c), c.clustering, c.model_name, c.model_checksum, c.dimensions, c.fitted_at,
    c.packed_in, pix_internal.check_prior($prior::text, c) AS prior
FROM pix.find_clustering($clustering::text) c
"""
# An index of principal components, of the very same blocks, tells quickly what to look at closely.
SKETCH = """
SELECT i.index_name, i.state_checksum FROM pix.indexes i
WHERE i.model_name = $model_name::text AND i.model_checksum IS NOT DISTINCT FROM $model_checksum::text
    AND i.algorithm = 'exact' AND i.metric = 'cosine' AND i.project_to IS NOT NULL AND i.packed_in = $packed::int
ORDER BY i.project_to, i.index_name LIMIT 1
"""
SEEN = """
SELECT o.item_id FROM pix.opinions o WHERE o.user_id = $user_id::text AND o.signal <> 'skip'
UNION ALL
SELECT h.item_id FROM pix.impressions h
WHERE h.user_id = $user_id AND h.shown_at > clock_timestamp() - $again_after::interval
"""
ARMS = """
SELECT c.cluster, CASE WHEN $prior::text = 'tree' THEN c.parent END AS parent, c.height IS NULL AS is_leaf, c.items,
    c.words, coalesce(p.alpha, 1) AS alpha, coalesce(p.beta, 1) AS beta,
    coalesce(a.likes * pix_internal.decay(h.half_life, clock_timestamp() - a.as_of), 0) AS likes,
    coalesce(a.dislikes * pix_internal.decay(h.half_life, clock_timestamp() - a.as_of), 0) AS dislikes
FROM pix.clusters c
CROSS JOIN (SELECT pix_internal.half_life() AS half_life) h
LEFT JOIN pix.arm_priors p ON p.clustering = c.clustering AND p.cluster = c.cluster AND $prior <> 'flat'
LEFT JOIN pix.arms a ON a.user_id = $user_id::text AND a.clustering = c.clustering AND a.cluster = c.cluster
WHERE c.clustering = $clustering::text AND (c.height IS NULL OR $prior = 'tree')
ORDER BY c.cluster
"""
SEEN_OF_CLUSTERS = """
SELECT m.cluster, count(*) AS seen FROM pix.cluster_members m
WHERE m.clustering = $clustering::text AND m.item_id = ANY ($seen::text[]) GROUP BY m.cluster
"""
CENTERS = """
SELECT c.cluster, c.center FROM pix.clusters c
WHERE c.clustering = $clustering::text AND c.cluster = ANY ($clusters::int[])
"""
MEMBERS = """
SELECT c.clustering, c.fitted_at, c.packed_in,
    (SELECT p.checksum FROM pix_internal.packs p WHERE p.model_name = c.model_name) AS blocks_key,
    m.clusters, m.blocks, m.positions
FROM pix.clusterings c CROSS JOIN (
    SELECT coalesce(array_agg(m.cluster), '{}') AS clusters, coalesce(array_agg(f.block), '{}') AS blocks,
        coalesce(array_agg(f.position), '{}') AS positions
    FROM pix.cluster_members m JOIN pix.features f ON f.item_id = m.item_id
    JOIN pix_internal.packs p ON p.model_name = f.model_name
    WHERE m.clustering = $clustering::text AND f.model_name = $model_name::text AND f.packed_in <= p.packed_in
) m
WHERE c.clustering = $clustering
"""
THERE = """
SELECT m.item_id, m.cluster FROM pix.cluster_members m
JOIN pix.items i ON i.item_id = m.item_id
JOIN pix.current_features f ON f.item_id = m.item_id AND f.model_name = $model_name::text
WHERE m.item_id = ANY ($item_ids::text[]) AND m.clustering = $clustering::text
"""
LOG = """
INSERT INTO pix.impressions (user_id, item_id, shown_at, policy, prior, clustering, cluster, exhausted, propensity,
    rank, score)
VALUES ($user_id::text, $item_id::text, clock_timestamp(), $policy::text, $prior::text, $clustering::text,
    $cluster::int, $exhausted::int[], $propensity::float8, $rank::int, $score::float8)
RETURNING impression_id
"""


@dataclass(frozen=True)
class Candidate:
    """An item that may be shown.

    Parameters
    ----------
    cluster : int
    item_id : str
    score : float
    nearest : str or None
        The liked item that it is most like.
    """

    cluster: int
    item_id: str
    score: float
    nearest: str | None


@driver
def suggest(
    database: Database, user_id: str, k: int, policy: str, clustering: str | None, prior: str | None, again_after: str,
    seed: int | None,
) -> list[dict]:  # fmt: skip
    """Return what to show, logged, as rows of ``pix.suggestion``: the body of ``pix.next_items``."""
    scene = Scene(database, user_id, clustering, prior, again_after)
    free = scene.free()
    more = SPARE
    chosen = None
    while True:
        if chosen is None:
            chosen = scene.choose(policy, free, k, seed)
            if not chosen["clusters"]:
                shown: dict[int, list[Candidate]] = {}
                break
        wanted = Counter(chosen["clusters"])
        tried = scene.best({cluster: count + more for cluster, count in wanted.items()})
        shown = scene.still_there(tried)
        short = [cluster for cluster, count in wanted.items() if len(shown[cluster]) < count]
        if not short:
            break
        if any(len(tried[cluster]) == wanted[cluster] + more for cluster in short):
            more *= WIDER
            continue
        # A cluster has fewer items than it was taken to have: choose again, knowing that.
        free |= {cluster: len(shown[cluster]) for cluster in short}
        chosen = None
    if scene.current is not None and scene.current.is_new:
        keep_model(database, scene.current)
    return scene.log(policy, chosen, shown, [cluster for cluster, items in free.items() if items <= 0])


class Scene:
    """A user before the clusters of a clustering.

    Parameters
    ----------
    database : Database
    user_id : str
    clustering, prior : str or None
        As for ``pix.next_items``.
    again_after : str
        An interval, after which what was shown may be shown again.
    """

    def __init__(self, database: Database, user_id: str, clustering: str | None, prior: str | None, again_after: str):
        self.database = database
        self.user_id = user_id
        for _ in range(ATTEMPTS):
            self.clustering = database.row(CLUSTERING, clustering=clustering, prior=prior)
            self.model = database.model(self.clustering["model_name"])
            self.state: State = read_state(database, user_id, self.model, None)
            self.members = self._open_members()
            if self.members is not None:
                break
        else:
            raise FilesVanish
        self.packed: Packed = kept(database.cache, self.state.blocks_key)
        self.names = {"clustering": self.clustering["clustering"], "model_name": self.model.model_name}
        self.seen = [row["item_id"] for row in database.rows(SEEN, user_id=user_id, again_after=again_after)]
        self.arms = database.rows(ARMS, user_id=user_id, prior=self.clustering["prior"], **self.names)
        self.current: CurrentModel | None = current_model(database, user_id, self.model, self.state)
        self.wanted = self._model()
        self.sketch = self._sketch()

    def _open_members(self) -> candidates.Members | None:
        """Return which vectors belong to which cluster, if that is still as it was when the state was read."""
        database, cache = self.database, self.database.cache
        key = members_key(self.clustering, self.state.blocks_key)
        if kept(cache, key) is None or kept(cache, self.state.blocks_key) is None:
            names = {"clustering": self.clustering["clustering"], "model_name": self.model.model_name}
            restore_blocks(database, names["model_name"])
            row = database.row(MEMBERS, **names)
            if row is not None:
                columns = (np.array(row[name], int) for name in ("clusters", "blocks", "positions"))
                keep(cache, members_key(row, row["blocks_key"]), candidates.Members(*columns))
        return kept(cache, key) if kept(cache, self.state.blocks_key) is not None else None

    def _model(self) -> models.Model | None:
        """Return what items are scored by; None: what is most like the cluster, or like what the user likes."""
        if self.current is not None:
            return opened(self.database.cache, self.current.row["described"], self.current.row["content"])
        if self.state.taste is None:
            return None
        open_taste(self.database, self.model, self.state.taste)
        return kept(self.database.cache, self.state.taste).pooled()

    def _sketch(self) -> candidates.Sketch | None:
        """Return principal components of the very same blocks, if an index has them."""
        database = self.database
        row = database.row(
            SKETCH, model_name=self.model.model_name, model_checksum=self.model.checksum, packed=self.state.packed_in
        )
        if row is None:
            return None
        index = open_index(database, row["index_name"], row["state_checksum"]).index
        projection = index.state.projection
        return candidates.Sketch(index.vectors, projection.mean, projection.components, self.packed.starts)

    def free(self) -> dict[int, int]:
        """Return of each cluster how many items can be shown, at least so many if many are left."""
        items = {arm["cluster"]: arm["items"] for arm in self.arms}
        if min((arm["items"] for arm in self.arms if arm["is_leaf"]), default=0) > len(self.seen):
            return items
        for row in self.database.rows(SEEN_OF_CLUSTERS, seen=self.seen, **self.names):
            if row["cluster"] in items:
                items[row["cluster"]] -= row["seen"]
        return items

    def choose(self, policy: str, free: dict[int, int], count: int, seed: int | None) -> dict:
        """Choose clusters; see `choose_clusters`."""
        columns = (
            [arm[name] for arm in self.arms] for name in ("cluster", "parent", "alpha", "beta", "likes", "dislikes")
        )
        return choose_clusters(policy, *columns, list(free.values()), count, seed)

    def best(self, counts: dict[int, int]) -> dict[int, list[Candidate]]:
        """Find items of clusters that the user may like best.

        Parameters
        ----------
        counts : dict of int to int
            How many are wanted of each cluster.
        """
        state, packed = self.state, self.packed
        size = self.model.dimensions
        where = list(zip(state.blocks, state.positions, strict=True))[:MOST_VOTES]
        voted = candidates.unit(packed.vectors(where)) if where else np.empty((0, size), np.float32)
        strengths = np.array(state.vals[:MOST_VOTES], np.float32)
        liked = np.flatnonzero(strengths > 0)
        likes, excluded = voted[liked], set(self.seen)
        centers = self.database.rows(CENTERS, clusters=list(counts), **self.names)
        answer: dict[int, list[Candidate]] = {cluster: [] for cluster in counts}
        for row in centers:
            cluster, wanted = row["cluster"], self.wanted
            if wanted is None:
                typical, looked_at = np.zeros(size, np.float32), places_of(self.clustering["dimensions"])
                typical[slice(None) if looked_at is None else looked_at] = vectors.from_bytes(row["center"])
                wanted = candidates.taste(voted, strengths, typical)
            for block, item_row, item_id, score in self._ranked(cluster, wanted, counts[cluster], excluded):
                nearest = None
                if len(liked):
                    nearest = state.item_ids[liked[int((likes @ packed.by_number[block].vectors[item_row]).argmax())]]
                answer[cluster].append(Candidate(cluster, item_id, score, nearest))
        return answer

    def _ranked(
        self, cluster: int, wanted: models.Model, count: int, excluded: set[str]
    ) -> list[tuple[int, int, str, float]]:
        """Return block, row, item and score of the best items of a cluster that are not excluded."""
        positions = self.members.positions(cluster)
        # What is excluded is rarely among the best of this cluster: only then is more looked at.
        for more in (0, len(excluded)):
            ranked = candidates.best(*positions, self.packed.by_number, wanted, count + more + FEW, self.sketch)
            rows = [
                (block, row, self.packed.item_at((block, row + 1)), score)
                for block, row, score in zip(*(column.tolist() for column in ranked), strict=True)
            ]
            chosen = [row for row in rows if row[2] not in excluded][:count]
            if len(chosen) == count:
                break
        return chosen

    def still_there(self, tried: dict[int, list[Candidate]]) -> dict[int, list[Candidate]]:
        """Return those candidates that are still items of their clusters."""
        item_ids = [candidate.item_id for some in tried.values() for candidate in some]
        rows = self.database.rows(THERE, item_ids=item_ids, **self.names)
        there = {(row["item_id"], row["cluster"]) for row in rows}
        return {
            cluster: [candidate for candidate in some if (candidate.item_id, cluster) in there]
            for cluster, some in tried.items()
        }

    def log(self, policy: str, chosen: dict, shown: dict[int, list[Candidate]], exhausted: list[int]) -> list[dict]:
        """Log what is shown, and return it."""
        words = {arm["cluster"]: arm["words"] for arm in self.arms}
        left = {cluster: iter(some) for cluster, some in shown.items()}
        page = []
        choices = zip(chosen["clusters"], chosen["propensities"], chosen["errors"], strict=True)
        for rank, (cluster, propensity, error) in enumerate(choices, 1):
            candidate = next(left[cluster])
            suggestion = {
                "rank": rank, "item_id": candidate.item_id, "clustering": self.names["clustering"], "cluster": cluster,
                "policy": policy, "propensity": propensity, "propensity_error": error, "score": candidate.score,
                "reason": self.reason(candidate, words[cluster], policy, propensity),
            }  # fmt: skip
            suggestion["impression_id"] = int(
                self.database.returned(
                    LOG, user_id=self.user_id, prior=self.clustering["prior"], exhausted=exhausted or None, **suggestion
                )
            )
            page.append(suggestion)
        return page

    def reason(self, candidate: Candidate, words: list[str], policy: str, propensity: float) -> str:
        """Return in words why an item is shown."""
        like = "typical of"
        if candidate.nearest is not None:
            like = f"looks like {candidate.nearest}, which {self.user_id} liked; from"
        named = f" ({', '.join(words[:WORDS])})" if words else ""
        return f"{like} cluster {candidate.cluster}{named}, chosen by {policy} at {round(100 * propensity)} %"


def members_key(clustering: dict, blocks_key: str) -> str:
    """Return what the members of a clustering are kept under."""
    return " ".join(str(each) for each in (
        "members", clustering["clustering"], clustering["fitted_at"], clustering["packed_in"], blocks_key,
    ))  # fmt: skip


def choose_clusters(
    policy: str, clusters: list[int], parents: list[int | None], alpha: list[float],
    beta: list[float], likes: list[float], dislikes: list[float], free: list[int], count: int, seed: int | None,
) -> dict:  # fmt: skip
    """Choose clusters for a page: none a second time before all others had their turn.

    Parameters
    ----------
    policy : str
        As for `policies.probabilities`.
    clusters : list of int
        Numbers of clusters, upper ones too where branches are chosen before leaves.
    parents : list of (int or None)
        The cluster above each; None for those at the top.
    alpha, beta : list of float
        The prior of each.
    likes, dislikes : list of float
        Of each that has none above another.
    free : list of int
        How many items of each can be shown.
    count : int
        How many are wanted; there may be fewer.
    seed : int or None
        Random seed; None: a new one each time.

    Returns
    -------
    dict
        clusters, propensities, and their standard errors.
    """
    place_of = {cluster: position for position, cluster in enumerate(clusters)}
    tree = Tree([None if parent is None else place_of[parent] for parent in parents])
    random = np.random.default_rng(seed)
    left = np.where(tree.is_leaf, np.array(free), 0)
    turns = np.zeros(len(left), int)
    a, b = np.array(alpha) + tree.sums(np.array(likes)), np.array(beta) + tree.sums(np.array(dislikes))
    choices: dict[str, list] = {"clusters": [], "propensities": [], "errors": []}
    while len(choices["clusters"]) < count and left.any():
        can = left > 0
        position, propensity, error = tree.choose(policy, a, b, can & (turns == turns[can].min()), random)
        choices["clusters"].append(clusters[position])
        choices["propensities"].append(propensity)
        choices["errors"].append(error)
        left[position] -= 1
        turns[position] += 1
    return choices


def check_policy(plpy, cache: dict, policy: str | None) -> None:
    """Refuse a policy that is not known."""
    policies.find(policy)
