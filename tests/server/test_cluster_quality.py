"""Measures of clusterings, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from tests.helpers import members, refuses, store


@pytest.fixture
def measured(catalogue):
    """Twelve clusters, and labels that agree with them in part."""
    db = catalogue.db
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 12)")
    db.ask(
        "INSERT INTO pix.labels (item_id, label_set, label) "
        "SELECT item_id, 'kind', 'kind ' || substr(item_id, 2)::integer % 5 FROM pix.items WHERE item_id < 'c1500'"
    )
    return catalogue


def test_as_scikit_learn_has_them(measured):
    db = measured.db
    members_by_cluster = members(db, "groups")
    matrix = np.stack([measured.vectors[item_id] for item_id in members_by_cluster])
    labels = list(members_by_cluster.values())
    ours = db.ask("SELECT silhouette, davies_bouldin FROM pix.clustering_quality('groups')", role="rita")[0]
    assert ours == pytest.approx(
        (metrics.silhouette_score(matrix, labels), metrics.davies_bouldin_score(matrix, labels))
    )
    labeled = [item_id for item_id in members_by_cluster if item_id < "c1500"]
    truth = [int(item_id[1:]) % 5 for item_id in labeled]
    clusters = [members_by_cluster[item_id] for item_id in labeled]
    ((rand, purity),) = db.ask(
        "SELECT adjusted_rand_index, purity FROM pix.clustering_quality('groups', 'kind')", role="rita"
    )
    assert rand == pytest.approx(metrics.adjusted_rand_score(truth, clusters))
    table = metrics.cluster.contingency_matrix(truth, clusters)
    assert purity == pytest.approx(table.max(axis=0).sum() / table.sum())


def test_only_the_dimensions_that_were_looked_at(db):
    vectors = np.random.default_rng(3).normal(size=(60, 3))
    vectors[:, 1] += 30 * (np.arange(60) % 2)
    vectors[:, 0] *= 100
    store(db, "three", vectors)
    db.ask("SELECT pix.fit_clusters('halves', 'three', k => 2, dimensions => '{2}')")
    assert db.ask("SELECT silhouette FROM pix.clustering_quality('halves')")[0][0] > 0.9


def test_groups_that_are_the_same_or_have_nothing_to_do_with_labels(measured):
    db = measured.db
    db.ask("INSERT INTO pix.labels SELECT item_id, 'same', cluster::text FROM pix.cluster_members")
    db.ask("INSERT INTO pix.labels SELECT item_id, 'one', 'only' FROM pix.items")
    db.ask("INSERT INTO pix.labels VALUES ('elsewhere', 'other', 'x')")
    for label_set, rand, purity in (("same", 1, 1), ("one", 0, 1), ("other", None, None)):
        assert db.ask("SELECT adjusted_rand_index, purity FROM pix.clustering_quality('groups', %s)", (label_set,)) == [
            (rand, purity)
        ]


def test_unknown_names(measured):
    refuses(measured.db, "PX100", "SELECT pix.clustering_quality('nothing')", "'nothing'")
    refuses(measured.db, "PX100", "SELECT pix.clustering_quality('nothing', 'kind')", "'nothing'")
    refuses(measured.db, "PX071", "SELECT pix.clustering_quality('groups', 'nothing')", "'nothing'")


def test_command(measured):
    shown = measured.db.pix("cluster", "show", "groups", "--labels", "kind", role="rita").stdout
    assert "adjusted Rand index" in shown
    assert "silhouette" in shown
