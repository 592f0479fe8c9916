"""Images that were made to hurt, among good ones: each is a failure of its own, and the others are extracted."""

from __future__ import annotations

import time

import psycopg2
import pytest

from pixelplum.untrusted.images import MOST_SECONDS
from tests.helpers import fails_with
from tests.unit.crafted_images import CRAFTED

BOMBS = {
    "x-sides": "png 100,000,000 x 1",
    "x-scans": "jpeg progressive, 3,000 scans",
    "x-webp": "webp lossless 16,383 x 16,383",
    "x-gif": "gif with a frame off screen",
    "x-tiff": "tiff deflated 30,000 x 30,000",
    "x-bmp": "bmp 50,000 x 50,000",
}
CHEAP_ENOUGH = "png 10,000 x 10,000 palette, transparent"


@pytest.fixture
def bombed(loaded):
    """The drawn boots, and bombs that came in by SQL, where no loader looks at them."""
    connection = loaded.connect()
    with connection.cursor() as cursor:
        for item_id, name in BOMBS.items():
            content = CRAFTED[name]()
            cursor.execute("INSERT INTO pix.items (item_id) VALUES (%s)", (item_id,))
            cursor.execute(
                "INSERT INTO pix.images (item_id, content, format, width, height) VALUES (%s, %s, 'PNG', 1, 1)",
                (item_id, psycopg2.Binary(content)),
            )
    return loaded


def test_extraction_goes_on(bombed):
    """In 0.7 one such image of 290 KB was a MemoryError that ended the extraction, each time."""
    bombed.query("CALL pix.extract_features(chunk_size => 20)")
    assert bombed.value("SELECT count(*) FROM pix.features") == 60
    failures = dict(bombed.query("SELECT item_id, sqlstate FROM pix.extraction_failures"))
    assert failures == dict.fromkeys(BOMBS, "PX011")
    reason = bombed.value("SELECT reason FROM pix.extraction_failures WHERE item_id = 'x-sides'")
    assert "100000000 x 1 pixels" in reason


def test_reader_is_told(bombed):
    error = fails_with(
        bombed, "PX011", "SELECT pix.embed(content) FROM pix.images WHERE item_id = 'x-scans'", role="rita"
    )
    assert "scans" in str(error)
    assert "not progressive" in error.diag.message_hint


def test_timeout_is_noticed_between_images(loaded):
    """A reader's statement ends when it should, whatever it decodes: 0.7 took 36 s for one of one second."""
    content = CRAFTED[CHEAP_ENOUGH]()
    with loaded.connect("rita").cursor() as cursor:
        cursor.execute("SELECT pix.warm_up()")
        cursor.execute("SET statement_timeout = '1s'; SET max_parallel_workers_per_gather = 0")
        # Another image each time: a planner may ask once for one.
        sql = "SELECT pix.embed(%s || convert_to(n::text, 'UTF8')) FROM generate_series(1, 30) n"
        begun = time.monotonic()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            cursor.execute(sql, (psycopg2.Binary(content),))
    assert time.monotonic() - begun < 1 + 3 * MOST_SECONDS


def test_loader_rejects_them(db, tmp_path):
    """0.7 loaded what extraction then met."""
    for item_id, name in BOMBS.items():
        (tmp_path / f"{item_id}.png").write_bytes(CRAFTED[name]())
    output = db.pix("load", "images", tmp_path, "--rejects", tmp_path / "rejects.csv")
    assert output.stdout.startswith(f"0 new, 0 changed, 0 unchanged, {len(BOMBS)} rejected")
    reasons = (tmp_path / "rejects.csv").read_text().splitlines()[1:]
    assert len(reasons) == len(BOMBS)
    assert all("pixels" in reason or "scans" in reason for reason in reasons)
