"""Files of other audio models: what the hub says of them, fetching them into its cache, telling whether they are here.

By the real `huggingface_hub` from a hub on this machine.
"""

import json
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiny_peers

from afcore.app.model_host import ModelHost
from afcore.cli.main import main
from afcore.errors import BadRequest, Cancelled, MissingPart
from afcore.hashing import sha256_of
from afcore.published import download, peer_files

NAME = "hf:tiny/qwen"
COMMIT = "1" * 40


class Handler(SimpleHTTPRequestHandler):
    """The repository tiny/qwen, whose files lie in `server.folder`, and one without weights."""

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        folder: Path = self.server.folder
        file = folder / Path(self.path).name
        if self.path.startswith("/api/models/"):
            empty = "/empty" in self.path
            files = [] if empty else [{"rfilename": f.name, "size": f.stat().st_size} for f in folder.iterdir()]
            found = {"id": "tiny/qwen", "sha": COMMIT, "siblings": files, "cardData": {"license": "apache-2.0"}}
            return self._send(json.dumps(found).encode(), {"Content-Type": "application/json"}, body)
        if not file.is_file():  # what else huggingface_hub asks its hub for
            return self.send_error(404)
        self.server.asked.append(file.name)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{sha256_of(file.read_bytes())}"', "Accept-Ranges": "bytes"}
        return self._send(file.read_bytes(), headers, body)

    def _send(self, data, headers, body):
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def server(tmp_path, monkeypatch):
    tiny_peers.write(tmp_path / "repository")
    (tmp_path / "repository" / "modeling_own.py").write_text("raise SystemExit")
    (tmp_path / "repository" / "pytorch_model.bin").write_bytes(b"pickle")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.asked, server.daemon_threads = tmp_path / "repository", [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()


def test_a_peer_is_fetched_after_its_licence_without_code_and_pickles(server, capsys):
    item, sizes = peer_files.files_of(NAME)
    assert item.licence == "apache-2.0" and item.size == sum(sizes.values()) > 10_000
    assert "config.json" in sizes and "model.safetensors" in sizes
    assert not ModelHost.is_here(NAME)
    with pytest.raises(BadRequest, match="agree"):
        download.get(NAME)
    assert main(["get", NAME]) == 2 and "apache-2.0" in capsys.readouterr().out, "nobody agreed"
    assert server.asked == []
    stages = []
    assert "is ready" in download.get(NAME, True, progress=lambda stage, share: stages.append((stage, share)))
    assert ModelHost.is_here(NAME) and stages[-1] == ("Ready", 1.0)
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    assert not {"modeling_own.py", "pytorch_model.bin"} & set(server.asked)
    assert main(["get", NAME]) == 0 and "here already" in capsys.readouterr().out


def test_files_that_are_missing_or_stopped_are_not_taken_for_a_model(server, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        download.get(NAME, True, stop=stop)
    assert not ModelHost.is_here(NAME)
    folder = tiny_peers.in_cache(tmp_path / "hub", "tiny/half")
    assert ModelHost.is_here("hf:tiny/half")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert not ModelHost.is_here("hf:tiny/half"), "a part of its weights is missing"
    shutil.copy(folder / "model.safetensors", folder / "model-1.safetensors")
    assert ModelHost.is_here("hf:tiny/half")


def test_what_is_no_such_model_is_said(server):
    with pytest.raises(MissingPart, match="no weights that transformers loads"):
        peer_files.files_of("hf:tiny/empty")
    for wrong in ("hf:../etc", "hf:/etc", "hf:a/b/c", "tiny/qwen", "hf:a b/c"):
        with pytest.raises(BadRequest, match="hf:OWNER/NAME"):
            peer_files.repository_of(wrong)
