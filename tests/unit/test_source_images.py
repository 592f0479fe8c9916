"""Images from folders, files, archives and manifests of paths."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from pixload.sources.images import count_candidates, inspect, read_images
from pixload.sources.rows import ImageRow, Reject


def draw(format_: str = "PNG", size: tuple[int, int] = (4, 3)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, "plum").save(file, format_)
    return file.getvalue()


PNG = draw()


def png_header(width: int, height: int) -> bytes:
    """Write a PNG file without pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def tar(path: Path, files: dict[str, bytes], mode: str = "w", **options: int) -> Path:
    with tarfile.open(path, mode, **options) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def zip_(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def read(*paths: Path, **options) -> list[ImageRow | Reject]:
    """Read all, and see that the count was right where there is one."""
    rows = list(read_images(paths, **options))
    assert count_candidates(paths) in (None, len(rows))
    return rows


def brief(rows: list[ImageRow | Reject]) -> list[tuple]:
    return [(row.item_id, row.label if isinstance(row, ImageRow) else row.reason) for row in rows]


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_inspect(format_):
    assert inspect(draw(format_, (40, 30))) == (format_, 40, 30)


BOMB = png_header(50_000, 50_000)
TOO_MUCH = "The image, PNG of 50000 x 50000 pixels, takes 10,002 MB and 47.5 s to decode, more than 500 MB or 2 s"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\xef\xbb\xbf \n<!DOCTYPE html><p>no such image", "not an image (looks like HTML)"),
        (b"<HTML>", "not an image (looks like HTML)"),
        (b"hello", "not an image"),
        (PNG[:10], "not an image"),
        (BOMB, TOO_MUCH),
    ],
)
def test_inspect_refuses(content, reason):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            inspect(content)
    assert str(caught.value) == reason


def test_the_largest_image_that_is_taken_is_not_decoded():
    assert inspect(png_header(10_000, 10_000)) == ("PNG", 10_000, 10_000)


def test_folder(tmp_path):
    files = ["b.jpg", "a.PNG", "Boots/x.y.jpeg", "Boots/tall/z.tif", "note.txt", "list.csv"]
    hidden = [".DS_Store", "._a.png", ".cache/h.png", "Boots/__MACOSX/m.png"]
    folder = fill(tmp_path / "images", dict.fromkeys(files + hidden, PNG))
    rows = read(folder)
    assert brief(rows) == [("z", "tall"), ("x.y", "Boots"), ("a", None), ("b", None)]
    assert rows[1] == ImageRow("x.y", PNG, "PNG", 4, 3, str(folder / "Boots/x.y.jpeg"), "Boots")


def test_folder_given_as_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(fill(tmp_path, {"a.png": PNG, "Boots/b.png": PNG}))
    assert brief(read(Path("."))) == [("b", "Boots"), ("a", None)]


def test_single_files_are_tried_whatever_their_name(tmp_path):
    fill(tmp_path, {"Boots/a.dat": draw("JPEG"), ".hidden": PNG, "note.txt": b"hello"})
    rows = read(tmp_path / "Boots/a.dat", tmp_path / ".hidden", tmp_path / "note.txt")
    assert brief(rows) == [("a", None), (".hidden", None), ("note", "not an image")]
    assert rows[0].format == "JPEG"


def test_bad_files_do_not_stop_the_others(tmp_path):
    folder = fill(tmp_path, {"1.jpg": b"", "2.jpg": b"<html>", "3.jpg": BOMB, "4.jpg": PNG + bytes(2000), "9.jpg": PNG})
    (folder / "5.jpg").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "6.jpg")
    (folder / "7.jpg").symlink_to("7.jpg")
    rows = read(folder, max_bytes=2000)
    assert brief(rows) == [
        ("1", "empty file"),
        ("2", "not an image (looks like HTML)"),
        ("3", TOO_MUCH),
        ("4", f"{len(PNG) + 2000:,} bytes, more than 2,000"),
        ("5", "cannot be read: No such file or directory"),
        ("6", "not a regular file"),
        ("7", "cannot be read: Too many levels of symbolic links"),
        ("9", None),
    ]
    assert rows[0].source == str(folder / "1.jpg")


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    folder = fill(tmp_path / "folder", {"a/1.png": PNG})
    fill(tmp_path / "elsewhere", {"2.png": PNG})
    (folder / "a/up").symlink_to(folder)
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/round").symlink_to(folder / "a")
    assert brief(read(folder)) == [("1", "a"), ("2", "b")]


def test_names_that_are_not_utf8(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/\xff")
    for name in (b"/\xff.png", b"/\xff/a.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + name)).write_bytes(PNG)
    rows = read(tmp_path)
    assert sorted(brief(rows), key=str) == [
        ("a", "the folder's name is not valid Unicode"),
        (None, "the item_id is not valid Unicode"),
    ]
    assert all(row.source.encode() for row in rows)


MEMBERS = {
    "./a.jpg": PNG,
    "images/Boots/b.png": draw("JPEG"),
    "images/Boots/._b.png": b"resource fork",
    "__MACOSX/c.png": b"resource fork",
    "images/note.txt": b"hello",
    "images/e.png": b"",
    "../f.png": PNG,
}


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "X.TGZ", "x.tar.bz2", "x.tar.xz", "x.zip"])
def test_archives(tmp_path, name):
    mode = {"gz": "w:gz", "tgz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}.get(name.lower().rpartition(".")[2], "w")
    archive = (zip_ if name == "x.zip" else tar)(tmp_path / name, MEMBERS, *([mode] if name != "x.zip" else []))
    rows = read(archive)
    assert brief(rows) == [("a", None), ("b", "Boots"), ("e", "empty file"), ("f", None)]
    assert rows[1].source == f"{archive}!images/Boots/b.png"
    assert rows[1].format == "JPEG"
    assert sorted(tmp_path.iterdir()) == [archive]
    assert count_candidates([archive]) == (4 if name == "x.zip" else None)


def test_gzip_archive_of_several_parts(tmp_path):
    content = tar(tmp_path / "x.tar", {"a.png": PNG, "b.png": PNG}).read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(content[:700]) + gzip.compress(content[700:]))
    assert brief(read(tmp_path / "x.tar.gz")) == [("a", None), ("b", None)]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("cut", [0.35, 0.5, 0.75])
def test_truncated_tar(tmp_path, suffix, cut):
    noise = random.Random(0)
    files = {f"{i:03}.png": PNG + noise.randbytes(5000) for i in range(100)}
    mode = "w" if suffix == "tar" else f"w:{suffix[4:]}"
    quick = {"tar": {}, "tar.xz": {"preset": 0}}.get(suffix, {"compresslevel": 1})
    archive = tar(tmp_path / f"x.{suffix}", files, mode, **quick)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    *images, reject = read(archive)
    # bzip2 works in blocks, here of 100 kB, and what is left of the last is lost.
    assert 100 * cut - 25 < len(images) <= 100 * cut + 2
    assert [row.item_id for row in images] == [f"{i:03}" for i in range(len(images))]
    assert (reject.source, reject.item_id) == (str(archive), None)
    assert reject.reason.startswith("the archive is broken: ")


@pytest.mark.parametrize("damage", [lambda content: content[:1024], lambda content: content[:1024] + b"x" * 4096])
def test_tar_that_ends_between_members(tmp_path, damage):
    archive = tar(tmp_path / "x.tar", {"a.png": PNG, "b.png": PNG})
    archive.write_bytes(damage(archive.read_bytes()))
    image, reject = read(archive)
    assert image.item_id == "a"
    assert reject.reason == "the archive is broken: no header and no end mark at byte 1,024"


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz", "x.zip"])
@pytest.mark.parametrize("content", [b"", b"no archive at all" * 100])
def test_what_is_no_archive(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    [reject] = read(tmp_path / name)
    assert reject.reason.startswith("the archive is broken: ")


def test_truncated_zip_has_lost_its_directory(tmp_path):
    archive = zip_(tmp_path / "x.zip", {"a.png": PNG, "b.png": PNG})
    archive.write_bytes(archive.read_bytes()[:-30])
    [reject] = read(archive)
    assert (reject.source, reject.reason) == (str(archive), "the archive is broken: File is not a zip file")


def test_damaged_and_encrypted_zip_members_do_not_stop_the_others(tmp_path):
    archive = zip_(tmp_path / "x.zip", {"a.png": PNG, "b.png": PNG, "c.png": PNG}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[content.index(PNG) + 20] ^= 1
    content[content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 1) + 8] |= 1  # b's flag of encryption
    archive.write_bytes(content)
    damaged, encrypted, whole = read(archive)
    assert (damaged.source, damaged.item_id) == (f"{archive}!a.png", "a")
    assert "Bad CRC-32" in damaged.reason
    assert encrypted.item_id == "b"
    assert whole.item_id == "c"


@pytest.mark.parametrize("write", [tar, zip_])
def test_members_that_are_too_large_are_not_read(tmp_path, write):
    archive = write(tmp_path / f"x.{write.__name__.strip('_')}", {"a.png": bytes(20 << 20), "b.png": PNG})
    tracemalloc.start()
    large, image = read(archive, max_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (large.item_id, large.reason) == ("a", "20,971,520 bytes, more than 1,048,576")
    assert image.item_id == "b"
    assert peak < 2 << 20


def test_links_in_a_tar_are_rejects(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        member = tarfile.TarInfo("a.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    assert brief(read(tmp_path / "x.tar")) == [("a", "not a regular file")]


def test_memory_stays_constant_over_a_long_tar(tmp_path):
    archive = tar(tmp_path / "x.tar", {f"{i}.png": PNG for i in range(3000)})
    rows = read_images([archive])
    next(rows)
    tracemalloc.start()
    assert sum(1 for _ in rows) == 2999
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".jsonl", ".ndjson", ".json", ".json.gz"])
def test_manifest_of_paths(tmp_path, suffix):
    fill(tmp_path, {"images/a.png": PNG, "b.png": PNG})
    rows = [
        {"asin": "A", "path": "images/a.png", "label": "red, dark"},
        {"asin": "", "path": "b.png", "label": ""},
    ]
    if suffix.startswith(".csv"):
        text = 'asin,path,label\nA,images/a.png,"red, dark"\n,b.png,\n'
    else:
        text = "\n".join(map(json.dumps, rows))
    manifest = tmp_path / f"manifest{suffix}"
    manifest.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    images = read(manifest)
    assert brief(images) == [("A", "red, dark"), ("b", None)]
    assert images[0].source == str(tmp_path / "images/a.png")


def test_bad_rows_of_a_manifest_do_not_stop_the_others(tmp_path):
    fill(tmp_path, {"a.png": PNG})
    manifest = tmp_path / "manifest.jsonl"
    lines = [
        '{"path": "a.png"}',
        '{"id": "A"}',
        '{"id": "A", "url": "ftp://example.com/a.png"}',
        '{"id": "A", "url": "file:///etc/passwd"}',
        '{"id": "A", "url": "http://[bad"}',
        '{"id": "A", "url": "https:///a.png"}',
        '{"url": "https://example.com/"}',
        '{"id": {}, "path": "a.png"}',
        '{"id": "%s", "path": "a.png"}' % ("x" * 2001),
        '{"id": "A", "path": "a\\u0000.png"}',
        '{"id": "A", "path": "none.png"}',
        '{"id": "A", "path": "."}',
        '{"id": "A", "path"',
        '{"id": 17, "path": "a.png"}',
    ]
    manifest.write_text("\n".join(lines))
    rows = read(manifest)
    assert brief([rows[0], rows[-1]]) == [("a", None), ("17", None)]
    expected = {
        2: "neither a path nor a url",
        3: "not an http or https URL: ftp://example.com/a.png",
        4: "not an http or https URL: file:///etc/passwd",
        5: "Invalid IPv6 URL",
        6: "not an http or https URL: https:///a.png",
        7: "the item_id is empty",
        8: "the id is not text",
        9: "the item_id has 2,001 bytes, more than 2,000",
        10: "the path contains a NUL character",
    }
    assert {int(row.source.rpartition(":")[2]): row.reason for row in rows[1:10]} == expected
    assert brief(rows[10:12]) == [
        ("A", "cannot be read: No such file or directory"),
        ("A", "not a regular file"),
    ]
    assert rows[10].source == str(tmp_path / "none.png")
    assert rows[12].source == f"{manifest}:13"


def test_missing_paths_are_noticed_first(tmp_path):
    fill(tmp_path, {"a.png": PNG})
    rows = read_images([tmp_path / "a.png", tmp_path / "none"])
    with pytest.raises(FileNotFoundError, match="none"):
        next(rows)


def test_several_paths_in_the_order_given(tmp_path):
    folder = fill(tmp_path / "folder", {"b.png": PNG})
    archive = zip_(tmp_path / "x.zip", {"a.png": PNG})
    assert brief(read(folder, archive)) == [("b", None), ("a", None)]
    assert count_candidates([folder, tar(tmp_path / "x.tar", {})]) is None
