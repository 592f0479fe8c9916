"""What pix.doctor finds on hosts that are fit, and on one that is not."""

import socket

import psycopg2
import pytest

CHECKS = ["package", "python", "packages", "cache", "memory", "cores"]

# Takes the package away from the backends of a session: from all, or from the one of a segment.
SABOTAGE = """
CREATE FUNCTION public.sabotage(number integer, what text) RETURNS void LANGUAGE plpython3u VOLATILE AS $$
import sys
if what == 'package':
    sys.path[:] = [folder for folder in sys.path if 'site-packages' not in folder and 'plpython' not in folder]
    for name in [name for name in sys.modules if name.split('.')[0] in ('pixelplum', 'numpy', 'onnxruntime')]:
        del sys.modules[name]
if what == 'version':
    import pixelplum
    pixelplum.__version__ = '0.0.1'
if what == 'libraries':
    import numpy
    numpy.__version__ = '1.99'
if what == 'python':
    import platform
    platform.python_version = lambda: '3.99.0'
$$;
GRANT EXECUTE ON FUNCTION public.sabotage TO PUBLIC
"""


@pytest.fixture
def broken(loaded, server):
    """Return a function that opens a session in which a host lacks something; it runs SQL there."""
    loaded.query(SABOTAGE, role=None)

    def session(what: str):
        connection = loaded.connect("ada")
        cursor = connection.cursor()
        if server.is_distributed:
            cursor.execute(
                "SELECT public.sabotage(s.number, %s) "
                "FROM (SELECT gp_execution_segment() AS number FROM gp_dist_random('gp_id')) s WHERE s.number = 1",
                (what,),
            )
        else:
            cursor.execute("SELECT public.sabotage(0, %s)", (what,))

        def run(sql: str) -> list[tuple]:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

        return run

    return session


def test_fit_hosts(db, server):
    rows = db.query('SELECT host, segment, "check", ok, remedy FROM pix.doctor()', role="rita")
    segments = server.run("SELECT count(*) FROM gp_dist_random('gp_id')")[0][0] if server.is_distributed else 0
    assert [(segment, check) for _, segment, check, *_ in rows] == [
        (segment, check) for segment in (None, *range(segments)) for check in CHECKS
    ]
    assert all(ok for *_, ok, _ in rows)
    assert db.pix("doctor", role="rita").returncode == 0


def test_host_is_named(db, same_host):
    assert {host for (host,) in db.query("SELECT host FROM pix.doctor()")} == {socket.gethostname()}


def test_memory_is_that_of_all_networks_at_once(db):
    before = db.value("""SELECT found FROM pix.doctor() WHERE "check" = 'memory' ORDER BY segment LIMIT 1""")
    assert " MB wanted (" in before
    db.query("UPDATE pix.models SET size_bytes = 1000000000000", role=None)
    ok, remedy = db.query("""SELECT ok, remedy FROM pix.doctor() WHERE "check" = 'memory' ORDER BY segment LIMIT 1""")[
        0
    ]
    assert not ok
    assert "memory" in remedy


@pytest.mark.parametrize(
    ("what", "check", "results", "remedy"),
    [
        ("package", "package", "No module named 'pixelplum'", "python-path"),
        ("version", "package", "0.0.1", "pix migrate"),
    ],
)
def test_host_that_cannot_run_networks(broken, loaded, server, what, check, results, remedy):
    where = "segment = 1" if server.is_distributed else "segment IS NULL"
    run = broken(what)
    rows = run(f'SELECT host, "check", ok, found, remedy FROM pix.doctor() WHERE {where}')
    assert [(row[1], row[2]) for row in rows] == [(check, False)]
    assert results in rows[0][3]
    assert remedy in rows[0][4]
    for call in ("CALL pix.extract_features()", "SELECT pix.warm_up()"):
        with pytest.raises(psycopg2.Error) as caught:
            run(call)
        assert caught.value.pgcode == "PX002"
        assert rows[0][0] in caught.value.diag.message_primary
        assert results in caught.value.diag.message_primary
        assert remedy in caught.value.diag.message_hint
        assert "Traceback" not in (caught.value.diag.context or "")
    if server.is_distributed:
        assert "(segment 1)" in caught.value.diag.message_primary
    assert loaded.value("SELECT count(*) FROM pix.features") == 0
    assert loaded.query("CALL pix.extract_features()") == []  # a new session has new backends
    assert loaded.value("SELECT count(*) FROM pix.features") == 60


@pytest.mark.parametrize(("what", "check"), [("libraries", "packages"), ("python", "python")])
def test_segment_that_differs_from_the_coordinator(segments, broken, what, check):
    run = broken(what)
    rows = run('SELECT segment, "check", remedy FROM pix.doctor() WHERE NOT ok')
    assert [row[:2] for row in rows] == [(1, check)]
    assert "what the coordinator has" in rows[0][2]
    with pytest.raises(psycopg2.Error) as caught:
        run("CALL pix.extract_features()")
    assert caught.value.pgcode == "PX002"


def test_command_fails_with_the_remedy(db):
    definition = db.value(
        "SELECT pg_get_functiondef('pix_internal.examine_host(bigint, bigint, bigint)'::regprocedure)", role=None
    )
    db.query(definition.replace("pixelplum.server.doctor", "pixelplum_is_missing"), role=None)
    failed = db.pix("doctor", check=False)
    assert failed.returncode == 1
    assert "wrong" in failed.stdout
    assert "python-path" in failed.stdout.replace("\n", "")
