"""Downloads by the real `huggingface_hub` from a hub on this machine: progress, stop, resume, refusals."""

import contextlib
import hashlib
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from afcore import paths
from afcore.checkpoints import Broken
from afcore.errors import Cancelled, MissingPart
from afcore.published import folders, hub, pins

SOUND = bytes(range(256)) * 120_000  # 31 MB: three pieces of those that huggingface_hub reads
HALF = 16_000_000


class Handler(BaseHTTPRequestHandler):
    """One repository, nvidia/audio-flamingo, with one file, half of which waits until `server.go` is set."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def do_POST(self):
        names = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())["paths"]
        found = [{"type": "file", "path": n, "size": len(SOUND), "oid": "0"} for n in names if n == "chat.pt"]
        self._send(200, json.dumps(found).encode(), {"Content-Type": "application/json"})

    def _answer(self, body: bool):
        self.server.paths.append(self.path)
        if "/gated/" in self.path:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        elif not self.path.endswith("/chat.pt"):
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            start = int(re.match(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
            if body:
                self.server.starts.append(start)
            headers = {
                "X-Repo-Commit": "0" * 40,
                "ETag": f'"{hashlib.sha256(SOUND).hexdigest()}"',
                "Accept-Ranges": "bytes",
            }
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(SOUND) - 1}/{len(SOUND)}"
            self._send(206 if start else 200, SOUND[start:], headers, body)

    def _send(self, code: int, data: bytes, headers: dict, body: bool = True):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            with contextlib.suppress(OSError):  # who asked has gone
                self.wfile.write(data[:HALF])
                if len(data) > HALF:
                    self.server.go.wait(300)
                    self.wfile.write(data[HALF:])


@pytest.fixture
def server(tmp_path, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.go, server.starts, server.paths = threading.Event(), [], []
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(paths, "DATA", tmp_path / "data")
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()


def test_sizes(server):
    assert hub.sizes("nvidia/audio-flamingo", ["chat.pt", "chat_part1.pt"]) == {"chat.pt": len(SOUND)}


def test_a_stopped_download_goes_on_where_it_was(server, tmp_path):
    stop, seen = threading.Event(), []

    def progress(count):
        seen.append(count)
        if count:
            stop.set()

    with pytest.raises(Cancelled):
        hub.fetch("nvidia/audio-flamingo", "chat.pt", tmp_path / "files", progress, stop)
    assert not (tmp_path / "files" / "chat.pt").exists() and 0 < seen[-1] < len(SOUND)
    server.go.set()
    file = hub.fetch("nvidia/audio-flamingo", "chat.pt", tmp_path / "files")
    assert file.read_bytes() == SOUND and server.starts[0] == 0 < server.starts[1]


def test_a_file_that_came_before_must_be_the_same(server, tmp_path, monkeypatch):
    """By revision and SHA-256; what is not the same is not kept, and does not change what is known."""
    server.go.set()
    hub.fetch("nvidia/audio-flamingo", "chat.pt", tmp_path / "first")
    known = json.loads((folders.home() / pins.FILE).read_text())
    entry = known["nvidia/audio-flamingo"]["chat.pt"]
    assert entry == {"revision": "0" * 40, "sha256": hashlib.sha256(SOUND).hexdigest(), "bytes": len(SOUND)}
    first = len(server.paths)
    monkeypatch.setattr(sys.modules[__name__], "SOUND", SOUND[:-1] + b"x")
    with pytest.raises(Broken, match="not the file that came the first time"):
        hub.fetch("nvidia/audio-flamingo", "chat.pt", tmp_path / "second")
    asked, again = (" ".join(some) for some in (server.paths[:first], server.paths[first:]))
    assert "/resolve/main/" in asked and f"/resolve/{'0' * 40}/" in again and "/main/" not in again
    assert not (tmp_path / "second" / "chat.pt").exists()
    assert json.loads((folders.home() / pins.FILE).read_text()) == known
    (folders.home() / pins.FILE).write_text("{")
    with pytest.raises(Broken, match="remove it"):
        hub.fetch("nvidia/audio-flamingo", "chat.pt", tmp_path / "second")


def test_refusals_are_sentences(server, tmp_path, monkeypatch):
    with pytest.raises(MissingPart, match=r"no file other.pt"):
        hub.fetch("nvidia/audio-flamingo", "other.pt", tmp_path)
    with pytest.raises(MissingPart, match="accept its terms"):
        hub.fetch("nvidia/gated", "chat.pt", tmp_path)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    with pytest.raises(MissingPart, match="check the connection"):
        hub.sizes("nvidia/audio-flamingo", ["chat.pt"])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
