"""Clusterings: each algorithm, numbers that stay, new items, trees, bad input."""

import numpy as np
import psycopg2
import pytest
from sklearn.cluster import KMeans

from tests.helpers import members, refuses, store

ALGORITHMS = ("kmeans", "minibatch_kmeans", "gaussian_mixture", "ward")


def inertia_of(vectors: np.ndarray, labels) -> float:
    labels = np.array(labels)
    return sum(((vectors[labels == label] - vectors[labels == label].mean(axis=0)) ** 2).sum() for label in set(labels))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_finds_the_groups_that_are_there(catalogue, algorithm):
    db = catalogue.db
    ((k, items, inertia),) = db.ask(
        "SELECT k, items, inertia FROM pix.fit_clusters('found', 'clouds', %s, k => 40)", (algorithm,)
    )
    members_by_cluster = members(db, "found")
    assert items == len(members_by_cluster) == 2000
    assert k == len(set(members_by_cluster.values()))
    together = {}
    for item_id, cluster in members_by_cluster.items():
        together.setdefault(cluster, []).append(int(item_id[1:]) % 40)
    pure = sum(max(map(numbers.count, set(numbers))) for numbers in together.values())
    assert pure > (1700 if algorithm == "gaussian_mixture" else 1900)  # it does with fewer clusters, if it can
    distances = db.ask("SELECT sum(distance ^ 2) FROM pix.cluster_members WHERE clustering = 'found'")
    assert inertia == pytest.approx(distances[0][0])


def test_kmeans_is_that_of_scikit_learn(catalogue):
    """From the same seed points, the inertia is the same."""
    db = catalogue.db
    ((inertia, parameters),) = db.ask(
        "SELECT inertia, parameters FROM pix.fit_clusters('same', 'clouds', k => 12, n_init => 1)"
    )
    matrix = np.stack(list(catalogue.vectors.values()))
    seeds = np.stack([catalogue.vectors[item_id] for item_id in parameters["seeds"]])
    theirs = KMeans(12, init=seeds, n_init=1).fit(matrix)
    assert parameters["converged"]
    assert inertia == pytest.approx(theirs.inertia_, rel=0.01)


def test_what_is_said_of_clusters_is_true(groups):
    db = groups.db
    db.ask("UPDATE pix.items SET title = 'Boot of group ' || (substr(item_id, 2)::integer % 40) || ' and kind' "
           "|| (substr(item_id, 2)::integer % 40)")  # fmt: skip
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 40)")
    belong: dict[int, list[str]] = {}
    for item_id, cluster in members(db, "groups").items():
        belong.setdefault(cluster, []).append(item_id)
    rows = db.ask(
        "SELECT cluster, parent, height, items, pix.to_array(center), medoid, words, mean_price "
        "FROM pix.clusters WHERE clustering = 'groups'"
    )
    assert sorted(row[0] for row in rows) == list(range(1, 41))
    for cluster, parent, height, items, center, medoid, words, price in rows:
        assert parent is None
        assert height is None
        assert items == len(belong[cluster])
        vectors = np.stack([groups.vectors[item_id] for item_id in belong[cluster]])
        assert center == pytest.approx(vectors.mean(axis=0), abs=1e-3)
        nearest = np.linalg.norm(vectors - center, axis=1).argmin()
        assert medoid == belong[cluster][nearest]
        kinds = [int(item_id[1:]) % 40 for item_id in belong[cluster]]
        assert kinds.count(int(words[0].removeprefix("kind"))) == max(kinds.count(kind) for kind in kinds)
        assert not {"boot", "of", "group", "and"} & set(words)
        assert float(price) == pytest.approx(
            np.mean([int(item_id[1:]) % 100 for item_id in belong[cluster]]), abs=0.005
        )


def test_refitting_keeps_numbers_and_tells_what_moved(groups):
    db = groups.db
    before = members(db, "groups")
    assert db.ask("SELECT moved FROM pix.clusterings") == [(None,)]
    groups.add([3])  # other features of the same kind
    ((moved,),) = db.ask("SELECT moved FROM pix.fit_clusters('groups', 'clouds', k => 40, seed => 99)")
    after = members(db, "groups")
    assert moved == sum(before[item_id] != after[item_id] for item_id in before)
    assert moved < 200
    # Another number of clusters: those that stay keep their numbers, new ones get the next.
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 42)")
    assert {number for (number,) in db.ask("SELECT cluster FROM pix.clusters")} == set(range(1, 43))
    same = members(db, "groups")
    assert sum(same[item_id] == after[item_id] for item_id in after) > 1800


def test_new_items_are_assigned_without_refitting(groups):
    db = groups.db
    centers = db.ask("SELECT cluster, center FROM pix.clusters ORDER BY 1")
    before = members(db, "groups")
    assert db.ask("SELECT pix.refresh_clusters('groups')") == [(0,)]
    groups.add(range(2000, 2080))
    groups.remove(["c0000", "c0001"])
    groups.add([7])
    groups.vectors["c0010"] = groups.vectors["c0011"].copy()
    groups.store(["c0010"])
    assert db.ask("SELECT added FROM pix.clustering_status") == [(82,)]
    assert db.ask("SELECT pix.refresh_clusters('groups')") == [(82,)]
    after = members(db, "groups")
    assert set(after) == set(groups.vectors)
    assert after["c0010"] == after["c0011"]
    assert all(after[f"c{n}"] == before[f"c{n - 40}"] for n in range(2000, 2040))
    changed = {"c0007", "c0010"}
    assert all(after[item_id] == before[item_id] for item_id in before if item_id in after and item_id not in changed)
    assert db.ask("SELECT cluster, center FROM pix.clusters ORDER BY 1") == centers
    assert db.ask("SELECT sum(items), count(medoid) FROM pix.clusters") == [(2078, 40)]
    assert db.ask("SELECT items, added FROM pix.clustering_status") == [(2078, 0)]
    # Again with nothing but an item that is deleted.
    groups.remove(["c0002"])
    assert db.ask("SELECT pix.refresh_clusters('groups')") == [(0,)]
    assert "c0002" not in members(db, "groups")


def test_a_hierarchy_can_be_cut_anywhere(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('tree', 'clouds', 'ward', k => 40)")
    rows = db.ask("SELECT cluster, parent, height, items, medoid FROM pix.clusters WHERE clustering = 'tree'")
    assert len(rows) == 79
    roots = [row for row in rows if row[1] is None]
    assert [row[3] for row in roots] == [2000]
    leaves = {cluster for cluster, _, height, *_ in rows if height is None}
    assert leaves == set(members(db, "tree").values()) == set(range(1, 41))
    sizes = {cluster: items for cluster, _, _, items, _ in rows}
    heights = {cluster: height for cluster, _, height, *_ in rows}
    for cluster, parent, height, items, medoid in rows:
        parts = [row[0] for row in rows if row[1] == cluster]
        assert len(parts) == (0 if height is None else 2)
        if parts:
            assert items == sum(sizes[part] for part in parts)
            assert all(height >= (heights[part] or 0) - 1e-6 for part in parts)
        assert medoid in catalogue.vectors
        assert parent != cluster
    for k in (1, 2, 7, 40):
        cut = dict(db.ask("SELECT leaf, cluster FROM pix.cut_clusters('tree', %s)", (k,)))
        assert set(cut) == leaves
        assert len(set(cut.values())) == k
    # The cut adds as little as can be to the inertia: a merge less, and it is smaller by a height.
    members_by_cluster = members(db, "tree")
    matrix = np.stack([catalogue.vectors[item_id] for item_id in members_by_cluster])
    inertias = []
    for k in (7, 8):
        cut = dict(db.ask("SELECT leaf, cluster FROM pix.cut_clusters('tree', %s)", (k,)))
        inertias.append(inertia_of(matrix, [cut[cluster] for cluster in members_by_cluster.values()]))
    merges = sorted((height for height in heights.values() if height is not None), reverse=True)
    assert inertias[0] - inertias[1] == pytest.approx(merges[6], rel=0.01)
    before = {row[:2] for row in rows}
    db.ask("SELECT pix.fit_clusters('tree', 'clouds', 'ward', k => 40)")
    assert set(db.ask("SELECT cluster, parent FROM pix.clusters WHERE clustering = 'tree'")) == before
    catalogue.add(range(2000, 2010))
    assert db.ask("SELECT pix.refresh_clusters('tree')") == [(10,)]
    assert db.ask("SELECT items FROM pix.clusters WHERE parent IS NULL") == [(2010,)]


def test_flat_clusters_have_no_levels(groups):
    assert len(groups.db.ask("SELECT * FROM pix.cut_clusters('groups', 40)")) == 40
    refuses(groups.db, "PX003", "SELECT * FROM pix.cut_clusters('groups', 39)", "is flat")
    refuses(groups.db, "PX003", "SELECT * FROM pix.cut_clusters('groups', 41)", "from 1 to 40")
    refuses(groups.db, "PX100", "SELECT * FROM pix.cut_clusters('nothing', 2)", "'nothing'")


def test_the_number_of_clusters_can_be_chosen(db):
    centers = np.random.default_rng(1).normal(size=(5, 16)) * 5
    store(db, "five", np.repeat(centers, 30, axis=0) + np.random.default_rng(2).normal(size=(150, 16)) * 0.1)
    assert db.ask("SELECT k, parameters->'k' FROM pix.fit_clusters('chosen', 'five', k => NULL)") == [(5, None)]
    curve = dict(db.ask("SELECT k, silhouette FROM pix.cluster_curves WHERE clustering = 'chosen'"))
    assert set(curve) >= {2, 3, 4, 5, 6, 40}
    assert max(curve, key=curve.get) == 5
    inertias = db.ask("SELECT inertia FROM pix.cluster_curves WHERE clustering = 'chosen' ORDER BY k")
    assert inertias == sorted(inertias, reverse=True)
    stored = db.ask(
        "SELECT c.inertia, u.inertia FROM pix.clusterings c JOIN pix.cluster_curves u USING (clustering, k)"
    )
    assert stored[0][0] == pytest.approx(stored[0][1], rel=1e-3)
    db.ask("SELECT pix.fit_clusters('chosen', 'five', k => 3)")
    assert db.ask("SELECT count(*) FROM pix.cluster_curves") == [(0,)]


def test_only_some_dimensions_are_looked_at(db):
    """In the second and third, there are two groups; in the others, other ones that are further apart."""
    random = np.random.default_rng(3)
    vectors = random.normal(size=(80, 4)).astype(np.float32)
    vectors[:, 0] += 100 * (np.arange(80) % 2)
    vectors[:, 1] += 20 * (np.arange(80) < 40)
    store(db, "four", vectors)
    for algorithm in ALGORITHMS:
        db.ask("SELECT pix.fit_clusters(%s, 'four', %s, k => 2, dimensions => '{2,3}')", (algorithm, algorithm))
        members_by_cluster = members(db, algorithm)
        halves = (
            {members_by_cluster[f"i{n:03}"] for n in range(40)},
            {members_by_cluster[f"i{n:03}"] for n in range(40, 80)},
        )
        assert sorted(map(len, halves)) == [1, 1], algorithm
        assert halves[0] != halves[1], algorithm
    assert db.ask("SELECT DISTINCT octet_length(center) FROM pix.clusters WHERE clustering = 'kmeans'") == [(8,)]
    for wrong in ("{}", "{0}", "{5}", "{1,1}", "{1,NULL}", "{{1,2},{3,4}}"):
        refuses(
            db,
            "PX003",
            f"SELECT pix.fit_clusters('x', 'four', k => 2, dimensions => '{wrong}')",
            "dimensions must be",
        )


def test_components_that_nothing_belongs_to_are_dropped_and_said(db):
    centers = np.random.default_rng(1).normal(size=(3, 16)) * 9
    store(db, "three", np.repeat(centers, 50, axis=0) + np.random.default_rng(2).normal(size=(150, 16)))
    ((k, parameters),) = db.ask(
        "SELECT k, parameters FROM pix.fit_clusters('mixed', 'three', 'gaussian_mixture', k => 10)"
    )
    assert k < parameters["k"] == 10
    assert k == len(db.ask("SELECT cluster FROM pix.clusters WHERE items > 0"))


def test_groups_of_few_items_are_found_by_a_mixture(labeled):
    """Sixty boots are not one cluster, though priors weigh much then."""
    ((k,),) = labeled.ask("SELECT k FROM pix.fit_clusters('boots', algorithm => 'gaussian_mixture', k => 10)")
    assert k > 1


def test_every_item_a_cluster_of_its_own(db):
    store(db, "few", np.random.default_rng(2).normal(size=(20, 8)))
    for algorithm in ("kmeans", "minibatch_kmeans", "ward"):
        assert db.ask("SELECT k FROM pix.fit_clusters('each', 'few', %s, k => 20)", (algorithm,)) == [(20,)]
        assert db.ask("SELECT silhouette, davies_bouldin FROM pix.clustering_quality('each')") == [(0, None)]
    assert "silhouette 0.000" in db.pix("cluster", "show", "each").stdout
    db.ask("DELETE FROM pix.features WHERE model_name = 'few'")
    assert db.ask("SELECT silhouette, davies_bouldin FROM pix.clustering_quality('each')") == [(None, None)]


def test_choosing_where_few_features_differ(db):
    store(db, "five", np.repeat(np.random.default_rng(2).normal(size=(5, 8)), 20, axis=0))
    assert db.ask("SELECT k FROM pix.fit_clusters('chosen', 'five', k => NULL)") == [(5,)]
    assert db.ask("SELECT max(k) FROM pix.cluster_curves") == [(5,)]
    store(db, "same", np.ones((10, 4)))
    refuses(db, "PX102", "SELECT pix.fit_clusters('chosen', 'same', k => NULL)", "the same")
    store(db, "tiny", np.random.default_rng(2).normal(size=(20, 8)) * 1e-30)
    refuses(db, "PX102", "SELECT pix.fit_clusters('chosen', 'tiny', k => 3)", "differ (1)")


def test_prices_and_titles_that_change_are_described_anew(groups):
    db = groups.db
    db.ask("UPDATE pix.items SET price = 999, title = 'changed'")
    db.ask("UPDATE pix.items SET price = 'NaN' WHERE item_id = 'c0000'")
    assert db.ask("SELECT pix.refresh_clusters('groups')") == [(0,)]
    assert db.ask("SELECT DISTINCT mean_price FROM pix.clusters") == [(999,)]


def test_a_long_name_is_no_reason_for_notices(groups):
    session = groups.db.session("ada")
    session.notices.clear()
    groups.db.ask("SELECT pix.fit_clusters(repeat('é', 100), 'clouds', k => 3)")
    assert session.notices == []


def test_items_without_titles_or_prices(db):
    store(db, "plain", np.random.default_rng(2).normal(size=(20, 8)))
    db.ask("DELETE FROM pix.items")
    db.ask("SELECT pix.fit_clusters('plain', 'plain', k => 3)")
    assert db.ask("SELECT DISTINCT words, mean_price FROM pix.clusters") == [([], None)]


def test_dropping(groups):
    db = groups.db
    refuses(db, "PX100", "SELECT pix.drop_clustering('nothing')", "'nothing'")
    refuses(db, "PX003", "SELECT pix.refresh_clusters(NULL)", "NULL")
    db.ask("SELECT pix.fit_clusters('other', 'clouds', k => 2)")
    db.ask("SELECT pix.drop_clustering('groups')")
    assert db.ask("SELECT DISTINCT clustering FROM pix.cluster_members") == [("other",)]
    db.ask("SELECT pix.fit_map('all', 'clouds', 'pca')")
    db.ask("SELECT pix.fit_pca('clouds', 3)")
    db.ask("SELECT pix.drop_model('clouds')")
    for table in (
        "pix.clusterings",
        "pix.clusters",
        "pix.cluster_members",
        "pix_internal.clustering_states",
        "pix.maps",
        "pix.map_points",
        "pix.projections",
    ):
        assert db.query(f"SELECT count(*) FROM {table}", role=None) == [(0,)], table


def test_look_alikes_within_a_cluster(groups):
    db = groups.db
    members_by_cluster = members(db, "groups")
    db.ask("SELECT pix.build_index('fast', 'clouds')")
    wanted = {item_id for item_id, cluster in members_by_cluster.items() if cluster == 5} - {"c0001"}
    query = groups.vectors["c0001"]
    expected = [item_id for item_id, _ in groups.expected(query, 7, "cosine", exclude=set(groups.vectors) - wanted)]
    within = "k => 7, model_name => 'clouds', filter => pix.items_where(clustering => 'groups', cluster => 5)"
    for call in (
        f"SELECT item_id FROM pix.nearest('c0001', {within}) ORDER BY rank",
        f"SELECT item_id FROM pix.nearest('c0001', index_name => 'fast', {within}) ORDER BY rank",
        f"SELECT neighbor_id FROM pix.nearest_many('{{c0001}}', {within}) ORDER BY rank",
    ):
        assert [item_id for (item_id,) in db.ask(call, role="rita")] == expected
    many = db.ask(f"SELECT item_id FROM pix.nearest_to_vector(%s::real[], {within})", (query.tolist(),))
    assert len(many) == 7
    db.ask("SELECT pix.fit_clusters('tree', 'clouds', 'ward', k => 8)")
    ((parent,),) = db.ask("SELECT parent FROM pix.clusters WHERE clustering = 'tree' AND cluster = 1")
    below = db.ask(
        "SELECT count(*) FROM pix.nearest('c0001', k => 3000, model_name => 'clouds', "
        "filter => pix.items_where(clustering => 'tree', cluster => %s))", (parent,),
    )  # fmt: skip
    ((size,),) = db.ask("SELECT items FROM pix.clusters WHERE clustering = 'tree' AND cluster = %s", (parent,))
    assert below[0][0] in (size, size - 1)
    for wrong, sqlstate in (
        ("clustering => 'groups'", "PX003"), ("cluster => 1", "PX003"),
        ("clustering => 'nothing', cluster => 1", "PX100"), ("clustering => 'groups', cluster => 41", "PX105"),
    ):  # fmt: skip
        refuses(
            db, sqlstate, f"SELECT pix.nearest('c0001', model_name => 'clouds', filter => pix.items_where({wrong}))", ""
        )


def test_who_may(groups):
    db = groups.db
    for call in ("pix.fit_clusters('x', 'clouds')", "pix.refresh_clusters('groups')", "pix.drop_clustering('groups')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            db.query(f"SELECT {call}", role="rita")
    assert db.ask("SELECT count(*) FROM pix.cluster_members", role="rita") == [(2000,)]
    assert len(db.ask("SELECT * FROM pix.cut_clusters('groups', 40)", role="rita")) == 40


def test_command(groups):
    db = groups.db
    output = db.pix("cluster", "fit", "boots", "--model", "clouds", "-k", 12).stdout
    assert "boots: 2,000 items in 12 clusters" in output
    assert "0 items moved" not in output
    assert "moved" in db.pix("cluster", "fit", "boots", "--model", "clouds", "-k", 12).stdout
    groups.add(range(2000, 2003))
    assert "3 items assigned" in db.pix("cluster", "refresh", "boots").stdout
    listed = db.pix("cluster", "list").stdout
    assert "boots" in listed
    assert "groups" in listed
    shown = db.pix("cluster", "show", "boots", role="rita").stdout
    assert "medoid" in shown
    chosen = db.pix("cluster", "fit", "boots", "--model", "clouds", "-k", "auto", "--max-k", 4).stdout
    assert "silhouette" in chosen
    db.pix("cluster", "drop", "boots")
    failed = db.pix("cluster", "show", "boots", check=False)
    assert failed.returncode == 1
    assert "'boots' is not known" in failed.stderr
