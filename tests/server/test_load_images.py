"""Images into the database: from everywhere, twice, changed, bad, killed, and on a full disk."""

import csv
import io
import os
import shutil
import signal
import struct
import subprocess
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psycopg2
import pytest
from PIL import Image


def png(*tones: int, size: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (size, size), tones or (0, 0, 0)).save(file, "PNG")
    return file.getvalue()


def numbered(folder: Path, count: int) -> Path:
    """Write that many different images."""
    folder.mkdir()
    for number in range(count):
        (folder / f"item{number:05}.png").write_bytes(png(number % 256, number // 256, 0))
    return folder


def rejects(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {Path(row["source"]).name: row["reason"] for row in csv.DictReader(file)}


def test_second_load_changes_nothing(db, boots, tmp_path):
    first = db.pix("load", "images", boots / "images", cwd=tmp_path)
    assert first.stdout == "60 new, 0 changed, 0 unchanged, 0 rejected\n"
    before = db.ask("SELECT item_id, sha256, source, loaded_at FROM pix.images ORDER BY 1")
    second = db.pix("load", "images", boots / "images", cwd=tmp_path)
    assert second.stdout == "0 new, 0 changed, 60 unchanged, 0 rejected\n"
    assert db.ask("SELECT item_id, sha256, source, loaded_at FROM pix.images ORDER BY 1") == before
    assert not list(tmp_path.iterdir())


def test_stored_image_is_the_file(db, boots):
    db.pix("load", "images", boots / "images")
    path = next((boots / "images").iterdir())
    row = db.ask("SELECT content, format, width, height, source FROM pix.images WHERE item_id = %s", (path.stem,))[0]
    assert bytes(row[0]) == path.read_bytes()
    assert row[1:] == ("JPEG", 400, 400, str(path))
    assert db.value("SELECT count(*) FROM pix.items") == 60


def test_changed_image_replaces_the_old_one(extracted, boots, tmp_path):
    path = sorted((boots / "images").iterdir())[0]
    (tmp_path / path.name).write_bytes(sorted((boots / "images").iterdir())[1].read_bytes())
    before = extracted.value("SELECT vector FROM pix.features WHERE item_id = %s", (path.stem,))
    result = extracted.pix("load", "images", tmp_path / path.name)
    assert result.stdout.startswith("0 new, 1 changed, 0 unchanged")
    assert extracted.ask("SELECT extracted, stale, pending FROM pix.extraction_progress") == [(59, 1, 1)]
    extracted.ask("CALL pix.extract_features()")
    assert extracted.value("SELECT vector FROM pix.features WHERE item_id = %s", (path.stem,)) != before
    assert extracted.ask("SELECT extracted, stale, pending FROM pix.extraction_progress") == [(60, 0, 0)]


def test_labels_from_folders(db, tmp_path):
    for label in ("hat", 'it\'s "odd" ü'):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{label[:2]}1.png").write_bytes(png(1, 2, len(label)))
    db.pix("load", "images", tmp_path, "--label-set", "kind'; DROP TABLE pix.labels; --")
    assert db.ask("SELECT item_id, label_set, label FROM pix.labels ORDER BY 1") == [
        ("ha1", "kind'; DROP TABLE pix.labels; --", "hat"),
        ("it1", "kind'; DROP TABLE pix.labels; --", 'it\'s "odd" ü'),
    ]


def test_labels_are_stored_for_images_that_are_there_already(db, tmp_path):
    (tmp_path / "hat").mkdir()
    (tmp_path / "hat" / "a.png").write_bytes(png())
    db.pix("load", "images", tmp_path)
    assert db.pix("load", "images", tmp_path, "--label-set", "kind").stdout.startswith("0 new, 0 changed, 1 unchanged")
    assert db.ask("SELECT label FROM pix.labels") == [("hat",)]


def test_archive_and_manifest(db, tmp_path):
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("hats/a.png", png(1))
    (tmp_path / "b.png").write_bytes(png(2))
    (tmp_path / "list.csv").write_text("item_id,path\nown/id,b.png\nmissing,none.png\n")
    result = db.pix("load", "images", "more.zip", "list.csv", cwd=tmp_path)
    assert result.stdout == "2 new, 0 changed, 0 unchanged, 1 rejected (reasons in pix-rejects.csv)\n"
    assert db.ask("SELECT item_id FROM pix.images ORDER BY 1") == [("a",), ("own/id",)]
    assert "cannot be read" in rejects(tmp_path / "pix-rejects.csv")["none.png"]


def test_no_transaction_is_open_while_a_image_is_downloaded(db, tmp_path):
    """It would hold a pooled session, and idle_in_transaction_session_timeout would end it."""
    states = []

    class Site(BaseHTTPRequestHandler):
        def do_GET(self):
            states.extend(
                db.ask(
                    "SELECT state FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pix'"
                )
            )
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png())

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        Thread(target=site.serve_forever).start()
        (tmp_path / "list.csv").write_text(f"item_id,url\na,http://127.0.0.1:{site.server_port}/a.png\n")
        loaded = db.pix("load", "images", tmp_path / "list.csv")
        site.shutdown()
    assert loaded.stdout.startswith("1 new")
    assert states == [("idle",)]


def test_bad_files_are_rejected_and_good_ones_loaded(db, tmp_path):
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(1, 2, 3))
    (folder / "wrong_extension.jpg").write_bytes(png(3, 2, 1))
    (folder / "empty.jpg").touch()
    (folder / "page.jpg").write_bytes(b"<!DOCTYPE html><html><body>Not found</body></html>")
    (folder / "noise.jpg").write_bytes(bytes(range(256)) * 4)
    (folder / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))
    result = db.pix("load", "images", folder, "--rejects", tmp_path / "why.csv")
    assert result.stdout.startswith("2 new, 0 changed, 0 unchanged, 4 rejected")
    assert db.ask("SELECT item_id, format FROM pix.images ORDER BY 1") == [
        ("good", "PNG"),
        ("wrong_extension", "PNG"),
    ]
    reasons = rejects(tmp_path / "why.csv")
    assert reasons["empty.jpg"] == "empty file"
    assert "HTML" in reasons["page.jpg"]
    assert reasons["noise.jpg"] == "not an image"
    assert "50000 x 50000" in reasons["bomb.png"]


def test_truncated_image_fails_at_extraction_alone(loaded, boots, tmp_path):
    content = next((boots / "images").iterdir()).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    loaded.pix("load", "images", tmp_path)
    result = loaded.pix("extract")
    assert result.stdout.startswith("60 extracted, 1 failed, 0 pending")
    assert loaded.ask("SELECT item_id, sqlstate FROM pix.extraction_failures") == [("cut", "PX010")]


@pytest.mark.parametrize(
    "item_id",
    ["it's", 'a "quoted" id', "back\\slash", "tab\tnewline\n", "ünïcødé 靴", "$$; DROP TABLE", "x" * 1000],
)
def test_odd_ids(db, tmp_path, item_id):
    import json

    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "b.png").write_bytes(png(200, 0, 0))
    lines = [{"item_id": item_id, "path": "a.png"}, {"item_id": "other", "path": "b.png"}]
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert db.pix("load", "images", tmp_path / "list.jsonl").stdout.startswith("2 new")
    db.ask("CALL pix.extract_features()")
    assert db.ask("SELECT item_id FROM pix.nearest(%s)", (item_id,)) == [("other",)]
    assert db.ask("SELECT item_id FROM pix.nearest('other')") == [(item_id,)]


def test_impossible_ids_are_rejected(db, tmp_path):
    import json

    (tmp_path / "a.png").write_bytes(png())
    ids = ["ü" * 1500, "nul\0", "fine"]
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({"item_id": i, "path": "a.png"}) for i in ids))
    result = db.pix("load", "images", "list.jsonl", cwd=tmp_path)
    assert result.stdout.startswith("1 new, 0 changed, 0 unchanged, 2 rejected")


def test_duplicate_ids_keep_the_first(db, tmp_path):
    for number, folder in enumerate(("a", "b", "c")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.png").write_bytes(png(number))
    result = db.pix("load", "images", "a", "b", "c", cwd=tmp_path)
    assert result.stdout.startswith("1 new, 0 changed, 0 unchanged, 2 rejected")
    assert bytes(db.value("SELECT content FROM pix.images")) == png(0)
    with (tmp_path / "pix-rejects.csv").open(newline="") as file:
        assert {row["reason"] for row in csv.DictReader(file)} == {"the item_id was already loaded from a/same.png"}


def test_duplicates_in_different_batches(db, tmp_path):
    numbered(tmp_path / "many", 2100)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "item00003.png").write_bytes(png(9, 9, 9))
    result = db.pix("load", "images", "many", "more", cwd=tmp_path)
    assert result.stdout.startswith("2,100 new, 0 changed, 0 unchanged, 1 rejected")


@pytest.mark.sessions
def test_two_loads_at_once(db, tmp_path):
    """The same images in opposite orders: neither load waits for the other for ever."""
    numbered(tmp_path / "many", 3000)
    names = [f"many/item{number:05}.png" for number in range(3000)]
    (tmp_path / "up.csv").write_text("path\n" + "\n".join(names))
    (tmp_path / "down.csv").write_text("path\n" + "\n".join(reversed(names)))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: db.pix("load", "images", tmp_path / name), ("up.csv", "down.csv")))
    assert db.value("SELECT count(*) FROM pix.images") == 3000


@pytest.mark.sessions
def test_killed_loader_has_lost_nothing_that_was_committed(db, until, barrier, tmp_path):
    folder = numbered(tmp_path / "many", 2500)
    held = barrier(db, "pix.images", "item02300")
    loader = subprocess.Popen(
        [Path(os.sys.executable).parent / "pix", "load", "images", folder],
        env=os.environ | {"PIX_DSN": db.dsn("ada")}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    held.wait()
    loader.send_signal(signal.SIGKILL)
    assert loader.wait() == -signal.SIGKILL
    held.release()
    until(
        db,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pix'",
    )
    assert db.value("SELECT count(*) FROM pix.images") == 2000
    assert db.pix("load", "images", folder).stdout == "500 new, 0 changed, 2,000 unchanged, 0 rejected\n"


@pytest.mark.sessions
def test_killed_backend_has_lost_nothing_that_was_committed(db, barrier, server, tmp_path):
    folder = numbered(tmp_path / "many", 2500)
    held = barrier(db, "pix.images", "item02300")
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(lambda: db.pix("load", "images", folder, check=False))
        pid = held.wait()
        os.kill(pid, signal.SIGKILL)
        held.release()
        result = load.result()
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    server.wait_for_recovery(pid)
    assert db.value("SELECT count(*) FROM pix.images") == 2000
    assert db.pix("load", "images", folder).stdout == "500 new, 0 changed, 2,000 unchanged, 0 rejected\n"


@pytest.fixture
def small_disk(server, same_host, tmp_path):
    """A disk of 2 MB for temporary tables of ada."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0777", "none", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    [(data,)] = server.run("SHOW data_directory")
    owner = Path(data).owner()
    for parent in (folder, *folder.parents):
        if not parent.stat().st_mode & 0o001:
            subprocess.run(["setfacl", "-m", f"u:{owner}:--x", parent], check=True)
    shutil.chown(folder, owner)
    name, ada = server.name("small"), server.name("ada")
    server.run(f"CREATE TABLESPACE {name} LOCATION '{folder}'")
    server.run(f"GRANT CREATE ON TABLESPACE {name} TO {ada}")
    server.run(f"ALTER ROLE {ada} SET temp_tablespaces = {name}")
    yield folder
    server.run(f"ALTER ROLE {ada} RESET temp_tablespaces")
    server.run(f"DROP TABLESPACE {name}")
    subprocess.run(["umount", folder], check=True)


def test_full_disk_on_copy(db, server, small_disk, tmp_path):
    folder = tmp_path / "large"
    folder.mkdir()
    for number in range(4):
        (folder / f"large{number}.png").write_bytes(png(number) + os.urandom(1_000_000))
    full = db.pix("load", "images", folder, check=False)
    assert full.returncode == 1
    assert "No space left" in full.stderr
    assert "[53100]" in full.stderr
    assert "make room" in full.stderr
    assert "Traceback" not in full.stderr
    server.run(f"ALTER ROLE {server.name('ada')} RESET temp_tablespaces")
    assert db.pix("load", "images", folder).stdout.startswith("4 new")


def test_rejects_never_replace_another_file(db, tmp_path):
    (tmp_path / "labels.csv").write_text("item_id,label_set,label\na,b,\n")
    refused = db.pix("load", "labels", "labels.csv", "--rejects", "labels.csv", cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert "not a file of rejects" in refused.stderr
    assert (tmp_path / "labels.csv").read_text().startswith("item_id")
    refused = db.pix("load", "labels", "labels.csv", "--rejects", "none/x.csv", cwd=tmp_path, check=False)
    assert "no folder none" in refused.stderr
    db.pix("load", "labels", "labels.csv", cwd=tmp_path)
    assert (tmp_path / "pix-rejects.csv").exists()
    (tmp_path / "labels.csv").write_text("item_id,label_set,label\na,b,c\n")
    db.pix("load", "labels", "labels.csv", cwd=tmp_path)
    assert not (tmp_path / "pix-rejects.csv").exists()


def test_text_does_not_depend_on_the_client_encoding(db, tmp_path, monkeypatch):
    (tmp_path / "u.csv").write_text("item_id,title\nänn,Größe €\n")
    monkeypatch.setenv("PGCLIENTENCODING", "latin1")
    db.pix("load", "metadata", tmp_path / "u.csv")
    monkeypatch.undo()
    assert db.ask("SELECT item_id, title FROM pix.items") == [("änn", "Größe €")]


def test_pipe(db, boots):
    from subprocess import PIPE, Popen

    with Popen(["zcat", boots / "metadata.json.gz"], stdout=PIPE) as pipe:
        result = db.pix("load", "metadata", "/dev/stdin", stdin=pipe.stdout)
    assert result.stdout == "60 new, 0 changed, 0 unchanged, 0 rejected\n"


def test_reader_may_not_load(db, tmp_path):
    (tmp_path / "a.png").write_bytes(png())
    refused = db.pix("load", "images", tmp_path, role="rita", check=False)
    assert refused.returncode == 1
    assert "pix_admin" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_missing_path_is_named(db):
    refused = db.pix("load", "images", "/no/such/folder", check=False)
    assert refused.returncode == 2
    assert "/no/such/folder" in refused.stderr


def test_image_by_sql_has_its_checksum(db):
    import hashlib

    db.ask("INSERT INTO pix.images (item_id, content) VALUES ('mine', %s)", (psycopg2.Binary(png()),))
    assert db.value("SELECT sha256 FROM pix.images") == hashlib.sha256(png()).hexdigest()
    db.ask("CALL pix.extract_features()")
    assert db.value("SELECT count(*) FROM pix.features") == 1
