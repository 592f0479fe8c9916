"""Images that manifests name by URL, from a server on this machine."""

from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from pixload.sources.downloads import Downloader, DownloadError, Pace
from pixload.sources.images import count_candidates, read_images
from pixload.sources.rows import ImageRow, Known, Reject

FAST = {"per_second": 10_000, "backoff": 0.01, "read_timeout": 0.3}


def draw() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 3), "plum").save(file, "PNG")
    return file.getvalue()


PNG = draw()


class Site(ThreadingHTTPServer):
    """A server whose paths behave as their names say; it counts requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = Counter()
        self.agents = set()
        self.running = self.most_running = 0
        self.lock = threading.Lock()
        self.all_here = threading.Barrier(8)
        self.released = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self):
        site, path = self.server, self.path.lstrip("/")
        with site.lock:
            site.requests[path] += 1
            site.agents.add(self.headers["User-Agent"])
            attempt = site.requests[path]
            site.running += 1
            site.most_running = max(site.most_running, site.running)
        try:
            getattr(self, f"do_{path.partition('/')[0]}")(attempt)
        finally:
            with site.lock:
                site.running -= 1

    def answer(self, status: int = 200, content: bytes = PNG, **headers: str):
        self.send_response(status)
        for name, value in ({"Content_Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def do_image(self, attempt):
        self.answer()

    def do_html(self, attempt):
        self.answer(content=b"<!doctype html><p>sold out")

    def do_missing(self, attempt):
        self.answer(404, b"")

    def do_busy(self, attempt):
        self.answer(*((503, b"") if attempt == 1 else ()))

    def do_patient(self, attempt):
        self.answer(*((429, b"") if attempt == 1 else ()), **({"Retry_After": "1"} if attempt == 1 else {}))

    def do_dead(self, attempt):
        self.answer(500, b"")

    def do_reset(self, attempt):
        if attempt > 1:
            self.answer()

    def do_cut(self, attempt):
        self.answer(Content_Length="5000")

    def do_large(self, attempt):
        self.answer(content=bytes(20_000))

    def do_endless(self, attempt):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(10_000))
        except OSError:
            self.server.released.set()

    def do_silent(self, attempt):
        self.server.released.wait(10)

    def do_redirect(self, attempt):
        self.answer(302, b"", Location="/image/target.png")

    def do_escape(self, attempt):
        self.answer(302, b"", Location="file:///etc/hostname")

    def do_circle(self, attempt):
        self.answer(302, b"", Location=self.path)

    def do_together(self, attempt):
        self.server.all_here.wait(5)
        self.answer()

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def manifest(tmp_path: Path, urls: list[str]) -> Path:
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(json.dumps({"item_id": f"A{i}", "url": url}) for i, url in enumerate(urls)))
    return path


def download(site: Site, path: str, max_bytes: int = 10_000, **options) -> bytes:
    return Downloader(**{**FAST, **options}).download(site.url(path), max_bytes)


def test_manifest_of_urls(tmp_path, site):
    path = tmp_path / "manifest.csv"
    path.write_text(f"asin,imUrl,label\nA,{site.url('image/x')},red\n,{site.url('image/b%20c.png?d=e')},\n")
    assert count_candidates([path]) == 2
    rows = list(read_images([path], downloader=Downloader(user_agent="pixelplum/1.2", **FAST)))
    assert rows == [
        ImageRow("A", PNG, "PNG", 4, 3, site.url("image/x"), "red"),
        ImageRow("b c", PNG, "PNG", 4, 3, site.url("image/b%20c.png?d=e")),
    ]
    assert site.agents == {"pixelplum/1.2"}


def test_failures_are_rejects_in_the_order_of_the_manifest(tmp_path, site):
    (tmp_path / "local.png").write_bytes(PNG)
    path = manifest(tmp_path, [site.url(name) for name in ("image", "missing", "html", "large", "image/2")])
    with path.open("a") as file:
        file.write('\n{"path": "local.png"}\n{"id": 1}\n')
    rows = list(read_images([path], downloader=Downloader(**FAST), max_bytes=10_000))
    assert [type(row) for row in rows] == [ImageRow, Reject, Reject, Reject, ImageRow, ImageRow, Reject]
    assert rows[1] == Reject(site.url("missing"), "A1", "HTTP 404 Not Found")
    assert rows[2].reason == "not an image (looks like HTML)"
    assert rows[3].reason == "20,000 bytes, more than 10,000"
    assert rows[5].item_id == "local"
    assert rows[6].source == f"{path}:7"


@pytest.mark.parametrize("path", ["busy", "reset"])
def test_passing_faults_are_retried(site, path):
    assert download(site, path) == PNG
    assert site.requests[path] == 2


def test_retry_after_is_honored(site):
    start = time.monotonic()
    assert download(site, "patient") == PNG
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize(
    ("path", "reason", "requests"),
    [
        ("dead", "HTTP 500 Internal Server Error", 4),
        ("missing", "HTTP 404 Not Found", 1),
        ("silent", "timed out", 4),
        ("large", "20,000 bytes, more than 10,000", 1),
        ("endless", "more than 10,000 bytes", 1),
        ("circle", "too many redirects", 6),
    ],
)
def test_lasting_faults(site, path, reason, requests):
    with pytest.raises(DownloadError) as caught:
        download(site, path, read_timeout=0.2)
    assert str(caught.value) == reason
    assert site.requests[path] == requests


def test_endless_downloads_are_cut_off(site):
    with pytest.raises(DownloadError):
        download(site, "endless")
    assert site.released.wait(5)


def test_incomplete_content_is_a_fault(site):
    with pytest.raises(DownloadError, match="IncompleteRead"):
        download(site, "cut")


def test_redirects_are_followed_to_http_only(site):
    assert download(site, "redirect") == PNG
    with pytest.raises(DownloadError, match=r"[Nn]o host|scheme"):
        download(site, "escape")


def test_unknown_host_and_closed_port(site):
    downloader = Downloader(**FAST)
    with pytest.raises(DownloadError, match="name cannot be resolved"):
        downloader.download("http://images.invalid/a.png", 1000)
    with pytest.raises(DownloadError, match=r"no connection: .*refused"):
        downloader.download("http://127.0.0.1:1/a.png", 1000)
    with pytest.raises(DownloadError):
        downloader.download(f"http://{'x' * 300}/a.png", 1000)


def test_eight_downloads_at_once_and_no_more(tmp_path, site):
    path = manifest(tmp_path, [site.url(f"together/{i}") for i in range(40)])
    rows = list(read_images([path], downloader=Downloader(**{**FAST, "read_timeout": 10})))
    assert [row.item_id for row in rows if isinstance(row, ImageRow)] == [f"A{i}" for i in range(40)]
    assert site.most_running == 8


def test_no_more_is_downloaded_than_the_caller_takes(tmp_path, site):
    path = manifest(tmp_path, [site.url(f"image/{i}") for i in range(200)])
    rows = read_images([path], downloader=Downloader(**FAST))
    assert next(rows).item_id == "A0"
    rows.close()
    assert sum(site.requests.values()) <= 16


def test_known_urls_are_not_downloaded(tmp_path, site):
    urls = [site.url(f"image/{i}") for i in range(1200)]
    path = manifest(tmp_path, urls)
    questions = []

    def already_loaded(pairs):
        questions.append(pairs)
        return {item_id for item_id, _ in pairs if item_id not in ("A3", "A1100")}

    rows = list(read_images([path], already_loaded=already_loaded, downloader=Downloader(**FAST)))
    assert [pair for pairs in questions for pair in pairs] == [(f"A{i}", url) for i, url in enumerate(urls)]
    assert [row.item_id for row in rows] == [f"A{i}" for i in range(1200)]
    assert [row.item_id for row in rows if isinstance(row, ImageRow)] == ["A3", "A1100"]
    assert rows[0] == Known("A0", urls[0])
    assert site.requests == {"image/3": 1, "image/1100": 1}


def test_local_files_are_read_even_if_known(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    path = tmp_path / "manifest.csv"
    path.write_text("path\na.png\n")
    [row] = read_images([path], already_loaded=lambda pairs: {"a"})
    assert isinstance(row, ImageRow)


def test_pace_is_kept_per_host():
    pace = Pace(per_second=20)
    start = time.monotonic()
    for host in ("a", "b", "a", "b", "a"):
        pace.wait(host)
    assert 0.1 <= time.monotonic() - start < 0.2
