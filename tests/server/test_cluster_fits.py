"""Fits of clusters that are refused, killed, or met by others."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg2
import pytest

from tests.helpers import SOMEBODY_WAITS, members, refuses, store


@pytest.mark.parametrize(
    ("arguments", "sqlstate", "message"),
    [
        ("'x', 'clouds', k => 1", "PX003", "k must be from 2 to 2,000, not 1"),
        ("'x', 'clouds', k => -3", "PX003", "k must be from 2 to 2,000, not -3"),
        ("'x', 'clouds', k => 2001", "PX003", "2001"),
        ("'x', 'clouds', k => 2000", None, ""),
        ("'x', 'clouds', 'dbscan'", "PX003", "'dbscan'"),
        ("'x', 'clouds', NULL", "PX003", "NULL"),
        ("'', 'clouds'", "PX003", "clustering must be a name of 1 to 200 bytes"),
        ("NULL, 'clouds'", "PX003", "clustering must be a name of 1 to 200 bytes"),
        ("repeat('x', 201), 'clouds'", "PX003", "clustering must be a name of 1 to 200 bytes"),
        ("'x', 'clouds', n_init => 0", "PX003", "n_init must be from 1 to 100, not 0"),
        ("'x', 'clouds', seed => -1", "PX003", "seed must be from 0"),
        ("'x', 'clouds', k => NULL, max_k => 1", "PX003", "max_k must be from 2 to 200, not 1"),
        ("'x', 'nothing'", "PX020", "'nothing'"),
        ("'x', 'mini_inception'", "PX095", "no up-to-date features"),
    ],
)
def test_bad_arguments(catalogue, arguments, sqlstate, message):
    if sqlstate is None:
        catalogue.db.ask(f"SELECT pix.fit_clusters({arguments}, n_init => 1)")
        return
    refuses(catalogue.db, sqlstate, f"SELECT pix.fit_clusters({arguments})", message)


def test_features_that_cannot_be_clustered(db):
    store(db, "same", np.ones((10, 4)))
    refuses(db, "PX102", "SELECT pix.fit_clusters('x', 'same', k => 2)", "features that differ (1)")
    refuses(db, "PX102", "SELECT pix.fit_clusters('x', 'same', k => 11)", "more than the 10 items")
    refuses(db, "PX102", "SELECT pix.fit_clusters('x', 'same', 'minibatch_kmeans', k => 2)", "differ (1)")
    refuses(db, "PX112", "SELECT pix.fit_clusters('x', 'same', 'gaussian_mixture', k => 2)", "features are the same")
    store(db, "one", np.ones((1, 4)))
    refuses(db, "PX102", "SELECT pix.fit_clusters('x', 'one', k => NULL)", "nothing to choose")
    store(db, "broken", np.array([[1, 2], [3, np.nan], [4, 5]]))
    refuses(db, "PX030", "SELECT pix.fit_clusters('x', 'broken', k => 2)", "not finite")
    assert db.ask("SELECT count(*) FROM pix.clusterings") == [(0,)]


def test_a_failed_fit_leaves_what_was_there(groups):
    db = groups.db
    before = members(db, "groups"), db.ask("SELECT * FROM pix.clusters"), db.ask("SELECT * FROM pix.clusterings")
    groups.vectors["c0005"] = np.full(48, np.nan, np.float32)
    groups.store(["c0005"])
    refuses(db, "PX030", "SELECT pix.fit_clusters('groups', 'clouds', k => 3)", "'c0005'")
    after = members(db, "groups"), db.ask("SELECT * FROM pix.clusters"), db.ask("SELECT * FROM pix.clusterings")
    assert after == before


@pytest.mark.sessions
def test_killed_while_it_writes(groups, barrier):
    """The server process dies when half of the members are written: the earlier clustering is there, and fits again."""
    db = groups.db
    before = members(db, "groups"), db.ask("SELECT * FROM pix.clusters ORDER BY cluster")
    held = barrier(db, "pix.cluster_members", "c1000")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(db.query, "SELECT pix.fit_clusters('groups', 'clouds', k => 5)")
        pid = held.wait()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(psycopg2.Error):
            running.result(120)
    held.release()
    db.server.wait_for_recovery(pid)
    db.forget_sessions()
    assert (members(db, "groups"), db.ask("SELECT * FROM pix.clusters ORDER BY cluster")) == before
    assert db.ask("SELECT k FROM pix.fit_clusters('groups', 'clouds', k => 5)") == [(5,)]


@pytest.mark.sessions
def test_two_sessions_fit_the_same_clustering(groups, barrier, until):
    """They take turns; the one that comes later is what is left."""
    db = groups.db
    held = barrier(db, "pix.cluster_members", "c1000")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(db.query, "SELECT k FROM pix.fit_clusters('groups', 'clouds', k => 5)")
        held.wait()
        second = pool.submit(db.query, "SELECT k FROM pix.fit_clusters('groups', 'clouds', k => 7)")
        until(db, SOMEBODY_WAITS)
        held.release()
        assert (first.result(120), second.result(120)) == ([(5,)], [(7,)])
    assert db.ask("SELECT count(DISTINCT cluster), count(*) FROM pix.cluster_members") == [(7, 2000)]


def test_a_model_that_has_changed(groups):
    db = groups.db
    db.ask("UPDATE pix.models SET checksum = 'other' WHERE model_name = 'clouds'", role=None)
    db.ask("UPDATE pix.features SET model_checksum = 'other' WHERE model_name = 'clouds'")
    assert db.ask("SELECT usable FROM pix.clustering_status") == [(False,)]
    for call in (
        "pix.refresh_clusters('groups')",
        "pix.clustering_quality('groups')",
        "pix.nearest('c0001', model_name => 'clouds', filter => pix.items_where(clustering => 'groups', cluster => 1))",
    ):
        refuses(db, "PX103", f"SELECT {call}", "earlier version of model 'clouds'")
    db.ask("SELECT pix.fit_clusters('groups', 'clouds', k => 40)")
    assert db.ask("SELECT pix.refresh_clusters('groups')") == [(0,)]
