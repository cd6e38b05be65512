"""A whole project out as one zip and in again; whatever is not whole is refused and leaves nothing."""

import io
import json
import zipfile

import pytest
from teaching import sentence, sounds, stored_files, zipped

from afcore import safe_files
from afcore.errors import AfcoreError, BadRequest
from afcore.teach.ingest import add_files
from afcore.teach.review import ReviewQueue
from afcore.teach.schema import STATES
from afcore.teach.store import Store
from afcore.teach.transfer import export_project, import_project


def _filled(project):
    add_files(project, sounds("a.wav", "b.wav", "c.wav"), "Mara", "running")
    add_files(project, sounds("d.wav", "e.wav", seed=1), "Jo")
    add_files(project, sounds("t.wav", seed=2), "Jo", "cavitating", test=True)
    queue = ReviewQueue(project)
    item = queue.next_clip("Ada")
    queue.accept(item.id, "cavitating", "Ada", item.version)
    queue.undo("Ada")
    project.discard(1, "Mara", 1)
    file = io.BytesIO()
    export_project(project, file)
    return file.getvalue()


def _content(data: bytes) -> dict:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return json.loads(file.read("project.json"))


def _packed(data: bytes, content, **others) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()} | others
    members["project.json"] = content if isinstance(content, bytes) else json.dumps(content).encode()
    return zipped([(name, member) for name, member in members.items() if member is not None])


def test_round_trip(store, project, tmp_path):
    data = _filled(project)
    elsewhere = Store(tmp_path / "elsewhere")
    there = import_project(elsewhere, data, "Eve")
    assert (there.id, there.name) == (project.id, project.name)
    assert (there.labels, there.settings) == (project.labels, project.settings)
    assert there.items(*STATES) == project.items(*STATES) and there.revision == project.revision
    assert there.history()[1:] == project.history() and there.history()[0].who == "Eve"
    assert stored_files(there.folder) == stored_files(project.folder)
    here = import_project(store, data, "Eve")
    assert here.id != project.id and len(store.projects()) == 2
    ReviewQueue(here).accept(4, "running", "Eve", here.item(4).version)
    assert project.item(4).label is None, "two projects"
    again = io.BytesIO()
    export_project(there, again)
    assert len(_content(again.getvalue())["changes"]) == len(_content(data)["changes"]) + 1


def test_export_to_a_file_is_whole_or_not_at_all(project, tmp_path, monkeypatch):
    _filled(project)
    export_project(project, tmp_path / "p.zip")
    assert zipfile.ZipFile(tmp_path / "p.zip").testzip() is None
    project.sound_path(project.item(2)).unlink()
    with pytest.raises(BadRequest, match="missing"):
        export_project(project, tmp_path / "q.zip")
    with pytest.raises(BadRequest, match="no folder"):
        export_project(project, tmp_path / "nowhere" / "q.zip")
    monkeypatch.setattr(safe_files, "MAX_MEMBERS", 3)
    with pytest.raises(BadRequest, match="too large for one file"):
        export_project(project, io.BytesIO())
    assert [file.name for file in tmp_path.glob("*.zip*")] == ["p.zip"] and not list(tmp_path.glob(".*part"))


def _change(path, value):
    def change(content):
        *way, last = path
        for step in way:
            content = content[step]
        content[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _change(["format"], "zip"),
        _change(["version"], 2),
        _change(["clips", 0, "sha256"], "../../x"),
        _change(["clips", 0, "state"], "weird"),
        _change(["clips", 1, "label"], "nobody"),
        _change(["clips", 1, "label"], None),
        _change(["clips", 0, "id"], 2),
        _change(["clips", 0, "key"], "0"),
        _change(["clips", 0, "start"], -1),
        _change(["changes", 0, "clip_id"], 77),
        _change(["changes", 0, "undone_by"], 77),
        _change(["changes", 1, "after"], {"x": 1}),
        _change(["meta", "settings", "value", "method"], "magic"),
        _change(["meta", "labels", "value"], [{"name": "a"}]),
        _change(["meta", "labels", "value", 0, "name"], "cavitating"),
        _change(["meta", "revision", "value"], "1; DROP TABLE clip"),
        _change(["extra"], 1),
        lambda content: content["meta"].pop("name"),
        lambda content: content["clips"].pop(),
    ],
)
def test_a_project_out_of_shape_is_refused_and_leaves_nothing(store, project, change):
    data = _filled(project)
    content = _content(data)
    change(content)
    with pytest.raises(AfcoreError) as error:
        import_project(store, _packed(data, content), "Eve")
    sentence(error)
    assert [path.name for path in store.folder.iterdir()] == [project.id]


def test_other_sounds_are_refused(store, project):
    data = _filled(project)
    content = _content(data)
    sha256 = content["clips"][0]["sha256"]
    for others in ({f"audio/{sha256}": b"other"}, {f"audio/{sha256}": None}, {"audio/../../x": b"x"}, {"extra": b"x"}):
        with pytest.raises(BadRequest, match=r"damaged|something else"):
            import_project(store, _packed(data, content, **others), "Eve")
    for text in (b"", b"{", b"\xff", b"[" * 100_000, b'{"format": NaN}', b"[]"):
        with pytest.raises(BadRequest):
            import_project(store, _packed(data, text), "Eve")
    assert [path.name for path in store.folder.iterdir()] == [project.id]


def test_an_id_that_is_a_path_is_not_used(store, project):
    data = _filled(project)
    content = {**_content(data), "id": "../../evil"}
    imported = import_project(store, _packed(data, content), "Eve")
    assert imported.folder.parent == store.folder and imported.id.startswith("pumps-")
