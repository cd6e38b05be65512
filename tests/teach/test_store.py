"""Projects on the disk: what was saved comes back, nobody overwrites anybody, what is not ours is refused."""

import contextlib
import errno
import os
import struct
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from teaching import sentence, sound, sounds, stored_files, zipped, zipped_raw

from afcore import safe_files
from afcore.app.teach_exports import labelled
from afcore.audio.recording import from_samples
from afcore.errors import BadRequest, MissingPart
from afcore.teach import media
from afcore.teach.exports import to_csv
from afcore.teach.ingest import add_files, add_folder, add_zip, cut
from afcore.teach.review import ReviewQueue
from afcore.teach.schema import Changed, Label, NoSpace, Settings
from afcore.teach.store import Store
from afcore.teach.transfer import export_project, import_project

# Projects


def test_a_project_comes_back(store, project):
    project.set_settings(Settings("clap-nn", 8, 0.4), "Jo")
    add_files(project, sounds("a.wav"), "Jo", "running")
    again = Store(store.folder).open(project.id)
    assert (again.name, again.labels) == ("Pumps", [Label("running", "a steady hum"), Label("cavitating")])
    assert again.settings == Settings("clap-nn", 8, 0.4)
    (summary,) = Store(store.folder).projects()
    assert (summary.id, summary.name, summary.labels) == (project.id, "Pumps", ("running", "cavitating"))
    assert (summary.who, summary.action, summary.counts.example) == ("Jo", "added", 1)
    (item,) = again.items()
    assert again.sound_path(item).read_bytes() == sound(0)


def test_the_folder_is_named_by_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("AFCORE_PROJECTS", str(tmp_path / "mine"))
    assert Store().folder == tmp_path / "mine"


def test_the_folder_can_be_moved(store, project, tmp_path):
    add_files(project, sounds("a.wav"), "Mara")
    store.close()
    store.folder.rename(tmp_path / "elsewhere")
    moved = Store(tmp_path / "elsewhere").open(project.id)
    assert moved.sound_path(moved.items()[0]).read_bytes() == sound(0)


@pytest.mark.parametrize("project_id", ["", "..", "../Pumps", "a/b", ".new-1", "nothing"])
def test_other_ids_are_refused(store, project, project_id):
    with pytest.raises(BadRequest, match="no project"):
        store.open(project_id)


def test_what_is_no_project_is_refused(store, project):
    (store.folder / "other").mkdir()
    (store.folder / "other" / "project.sqlite").write_bytes(b"hello" * 1000)
    with pytest.raises(MissingPart, match="cannot be read"):
        store.open("other")
    assert [summary.id for summary in store.projects()] == [project.id]


def test_a_project_of_a_newer_version_is_refused(store, project):
    with project.db.write() as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(MissingPart, match="newer version"):
        Store(store.folder).open(project.id)


def test_a_removed_project_is_off_the_list_and_still_there(store, project):
    store.remove(project.id, "Jo")
    assert store.projects() == []
    assert len(list(store.folder.glob(".removed-*/project.sqlite"))) == 1


@pytest.mark.parametrize(
    "name, labels, who",
    [
        (" ", ["a"], "Mara"),
        ("P", ["a", "A"], "Mara"),
        ("P", [" "], "Mara"),
        ("P", ["a"], " "),
        ("P", ["<audio>"], "Mara"),
        ("P", ["a\nb"], "Mara"),
        ("P", ["a"], "x" * 61),
        ("P", [f"l{n}" for n in range(201)], "Mara"),
    ],
)
def test_bad_names_make_nothing(store, name, labels, who):
    with pytest.raises(BadRequest) as error:
        store.create(name, labels, who)
    sentence(error)
    assert not store.folder.exists()


# Labels and settings


def test_labels_in_use_cannot_go_but_be_renamed(project):
    add_files(project, sounds("a.wav"), "Mara", "running")
    with pytest.raises(BadRequest, match="“running” cannot go: 1"):
        project.set_labels(["cavitating"], "Jo")
    before = project.revision
    project.rename_label("running", "humming", "Jo")
    assert [label.name for label in project.labels] == ["humming", "cavitating"]
    assert (project.items()[0].label, project.revision) == ("humming", before + 1)


def test_added_labels_are_found_whatever_their_case(project):
    assert project.add_labels(["Running", "leaking", "Leaking"], "Jo") == {
        "Running": "running",
        "leaking": "leaking",
        "Leaking": "leaking",
    }
    assert [label.name for label in project.labels] == ["running", "cavitating", "leaking"]


def test_who_was_faster_is_named(project):
    seen = project.version("labels")
    project.set_labels(["running", "cavitating", "leaking"], "Jo", seen)
    with pytest.raises(Changed, match="Jo changed the labels"):
        project.set_labels(["running", "off"], "Mara", seen)
    assert len(project.labels) == 3
    project.set_settings(replace(project.settings, k=2), "Jo", project.version("settings"))
    assert project.settings.k == 2


@pytest.mark.parametrize(
    "wrong",
    [{"method": "magic"}, {"k": 0}, {"k": 2.5}, {"reject_below": 2}, {"order": "name"}, {"reject_similarity": -2}],
)
def test_settings_that_mean_nothing_are_refused(project, wrong):
    with pytest.raises(BadRequest) as error:
        project.set_settings(replace(Settings(), **wrong), "Mara")
    sentence(error)
    assert project.settings == Settings()


def test_a_basis_changes_with_what_it_depends_on(project):
    shots, zero = Settings(), Settings("lm-zero")
    before = [project.basis("m", settings) for settings in (shots, zero)]
    add_files(project, sounds("a.wav"), "Mara", "running")
    with_example = [project.basis("m", settings) for settings in (shots, zero)]
    assert (before[0] != with_example[0], before[1] == with_example[1]) == (True, True)
    project.set_labels(["running", "cavitating", "leaking"], "Mara")
    assert project.basis("m", zero) != before[1]
    assert len({project.basis(m, replace(shots, k=k)) for m in "mn" for k in (1, 2)}) == 4


# Sounds go in


def test_what_cannot_be_read_is_named_and_the_others_go_in(project):
    added = add_files(
        project, [*sounds("a.wav", "b.wav"), ("notes.txt", b"hello"), ("empty.wav", b"")], "Mara", "running"
    )
    assert [item.name for item in project.items("example")] == ["a.wav", "b.wav"] and len(added.clips) == 2
    assert [text.split("”")[0] for text in added.refused] == ["“notes.txt", "“empty.wav"]
    assert project.revision == 2


def test_the_same_sound_goes_in_once(project):
    add_files(project, sounds("a.wav"), "Mara")
    again = add_files(project, sounds("copy of a.wav"), "Jo")
    assert again.known == ["“copy of a.wav” is in the project already as “a.wav”."] and not again.clips
    assert add_files(project, sounds("a.wav"), "Jo", "running").clips == [1], "a waiting clip takes the label"
    assert project.item(1).label == "running" and len(stored_files(project.folder)) == 1
    other = add_files(project, sounds("a.wav"), "Jo", "cavitating")
    assert "an example of “running”, so it was left" in other.refused[0] and project.item(1).label == "running"
    test = add_files(project, sounds("a.wav"), "Jo", "running", test=True)
    assert "an example of" in test.refused[0], "no shot is a test clip"


def test_a_label_that_is_not_there_is_refused_before_anything_is_read(project):
    with pytest.raises(BadRequest, match="no label “x”"):
        add_files(project, sounds("a.wav"), "Mara", "x")
    assert project.items() == []


def test_names_are_for_show(project):
    add_files(project, [("../../etc/pass\nwd.wav", sound(1)), ("C:\\a\\b.wav", sound(2))], "Mara")
    assert [item.name for item in project.items()] == ["pass\\nwd.wav", "b.wav"]


def test_adding_can_be_stopped_and_taken_up_again(project):
    stop, seen = threading.Event(), []

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            stop.set()

    five = sounds(*(f"{n}.wav" for n in range(5)))
    assert len(add_files(project, five, "Mara", progress=progress, stop=stop).clips) == 2 and seen == [(1, 5), (2, 5)]
    added = add_files(project, five, "Mara")
    assert (len(added.clips), len(added.known)) == (3, 2)


def test_a_discarded_clip_comes_back(project):
    add_files(project, sounds("a.wav"), "Mara", "running")
    project.discard(1, "Jo", project.item(1).version)
    assert project.items() == []
    assert add_files(project, sounds("a.wav"), "Mara").clips == [1] and project.item(1).state == "open"


def test_a_recording_becomes_its_segments(project):
    add_files(project, [("long.wav", sound(1, 5.0))], "Mara")
    for spans in ([], [(0, 6)], [(2, 2.01)], [(-1, 1)], [(0, 1), (4, 9)]):
        with pytest.raises(BadRequest):
            cut(project, 1, spans, "Jo")
    assert [item.id for item in project.items()] == [1], "all or nothing"
    added = cut(project, 1, [(0, 2.5), (2.5, 5.0)], "Jo")
    assert [(item.start, item.seconds) for item in map(project.item, added.clips)] == [(0, 2.5), (2.5, 2.5)]
    assert project.items() == [project.item(i) for i in added.clips] and len(stored_files(project.folder)) == 1
    with pytest.raises(BadRequest, match="cannot be cut"):
        cut(project, 1, [(0, 1)], "Jo")
    project.change_clip(added.clips[0], "Jo", "accepted", 1, "example", "running")
    project.undo_change(next(change for change in project.history() if change.action == "cut into segments").id, "Mara")
    states = [(item.id, item.state) for item in project.items()]
    assert states == [(1, "open"), (added.clips[0], "example")], "judged ones stay"


# Zips and folders


def test_a_zip_with_a_folder_for_each_label(project):
    data = zipped(
        [
            ("set/", b""),
            ("set/Running/1.wav", sound(1)),
            ("set/water_leak/2.wav", sound(2)),
            ("3.wav", sound(3)),
            ("__MACOSX/set/._1.wav", b"x"),
            ("set/Running/.DS_Store", b"x"),
            ("set/notes.txt", b"x"),
        ]
    )
    added = add_zip(project, data, "Mara", folders_are_labels=True)
    assert [(item.name, item.label) for item in project.items("example")] == [
        ("1.wav", "running"),
        ("2.wav", "water leak"),
    ]
    assert [label.name for label in project.labels] == ["running", "cavitating", "water leak"]
    loose, notes = added.refused
    assert "“notes.txt” is not a sound file" in notes and "“3.wav” stands in no folder" in loose


@pytest.mark.parametrize("name", ["../evil.wav", "/etc/evil.wav", "a/../../evil.wav", "..\\evil.wav", "C:\\evil.wav"])
def test_names_that_lead_out_of_a_zip_are_left_out(project, tmp_path, name):
    added = add_zip(project, zipped([(name, sound(1)), ("good.wav", sound(2))]), "Mara")
    assert [item.name for item in project.items()] == ["good.wav"] and "points out of the zip" in added.refused[0]
    assert not list(tmp_path.rglob("evil*"))


def test_a_bomb_is_not_unpacked(project, monkeypatch):
    monkeypatch.setattr("afcore.teach.ingest.MAX_BYTES", 100_000)
    added = add_zip(project, zipped([("bomb.wav", bytes(3_000_000)), ("good.wav", sound(1))]), "Mara")
    assert "unpacks to more than" in added.refused[0] and len(added.clips) == 1
    monkeypatch.setattr(safe_files, "MAX_UNPACKED", 10_000)
    added = add_zip(project, zipped([(f"{n}.wav", sound(n)) for n in range(2, 9)]), "Mara")
    assert len(added.clips) == 3 and "so the rest of it was left out" in added.refused[0], "3.2 kB each"


def test_a_bomb_that_lies_about_its_size_is_not_unpacked(project, monkeypatch):
    monkeypatch.setattr("afcore.teach.ingest.MAX_BYTES", 100_000)
    data = bytearray(zipped([("bomb.wav", bytes(3_000_000))]))
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        place = data.rfind(magic) + at
        data[place : place + 4] = struct.pack("<L", 10)
    with contextlib.suppress(BadRequest):
        assert len(add_zip(project, bytes(data), "Mara").refused) == 1
    assert project.items() == []


def test_a_directory_of_millions_is_refused_unread(project, monkeypatch):
    data = zipped([(f"{n}.wav", b"") for n in range(50)])
    monkeypatch.setattr(safe_files, "MAX_DIRECTORY", 1000)
    monkeypatch.setattr(safe_files.zipfile, "ZipFile", lambda *_: pytest.fail("read"))
    with pytest.raises(BadRequest, match="more files than"):
        add_zip(project, data, "Mara")


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"hello", bytes(100), zipped([("a.wav", b"x")])[:-30], b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_zip_is_refused(project, data):
    with pytest.raises(BadRequest) as error:
        add_zip(project, data, "Mara")
    sentence(error)


def test_damage_within_a_zip_is_named(project):
    data = bytearray(zipped([("a.wav", sound(1)), ("b.wav", sound(2))], zipfile.ZIP_STORED))
    data[data.index(b"RIFF") + 500] ^= 0xFF
    added = add_zip(project, bytes(data), "Mara")
    assert "“a.wav” is damaged in the zip" in added.refused[0] and [item.name for item in project.items()] == ["b.wav"]


def test_only_allowed_folders_are_read(project, tmp_path, monkeypatch):
    allowed, secret = tmp_path / "allowed", tmp_path / "secret"
    for folder in (allowed / "running", secret):
        folder.mkdir(parents=True)
        (folder / "a.wav").write_bytes(sound(len(str(folder))))
    (allowed / "running" / "link.wav").symlink_to(secret / "a.wav")
    monkeypatch.delenv("AFCORE_SERVER_FOLDERS", raising=False)
    with pytest.raises(BadRequest, match="may not be read"):
        add_folder(project, allowed, "Mara")
    monkeypatch.setenv("AFCORE_SERVER_FOLDERS", str(allowed))
    for other in (secret, allowed / ".." / "secret", tmp_path):
        with pytest.raises(BadRequest, match="may not be read"):
            add_folder(project, other, "Mara")
    added = add_folder(project, allowed, "Mara", folders_are_labels=True)
    assert "link.wav” is a link out of the folder" in added.refused[0]
    assert [(item.name, item.label) for item in project.items()] == [("a.wav", "running")]


# Names from outside


def test_names_in_zips_are_utf8_whatever_the_flag_says_and_composed(project):
    mac = {"Tu\u0308rklingel/1.wav".encode(): sound(1), "犬/2.wav".encode(): sound(2)}
    project.add_labels(["Türklingel"], "Mara")
    add_zip(project, zipped_raw(mac), "Mara", folders_are_labels=True)
    assert [item.label for item in project.items("example")] == ["Türklingel", "犬"]
    assert [item.path for item in project.items()] == ["Türklingel/1.wav", "犬/2.wav"]


def test_names_in_another_code_page_are_read_when_it_is_named(project):
    names = {"犬/1.wav".encode("cp932"): sound(1)}
    with safe_files.opened_zip(zipped_raw(names)) as opened:
        (info,) = safe_files.in_code_page(opened)
        assert {page: safe_files.member_name(info, page) for page in ("cp932", "cp1252")} == {
            "cp932": "犬/1.wav",
            "cp1252": "Œ¢/1.wav",
        }
    add_zip(project, zipped_raw(names), "Mara", folders_are_labels=True, code_page="cp932")
    assert [item.label for item in project.items()] == ["犬"]


def test_hidden_folders_are_no_labels_and_endings_do_not_matter(project):
    names = [
        ".Trashes/x.wav",
        "@eaDir/1.wav",
        "dog/.ipynb_checkpoints/1.wav",
        "Thumbs.db",
        "dog/voice.3gp",
        "dog/noend",
    ]
    added = add_zip(project, zipped([(n, sound(i)) for i, n in enumerate(names)]), "Mara", folders_are_labels=True)
    assert [(item.path, item.label) for item in project.items()] == [("dog/voice.3gp", "dog"), ("dog/noend", "dog")]
    assert added.refused == []


def test_the_path_in_a_zip_is_kept_to_the_export(store, project):
    add_zip(project, zipped([("site A/001.wav", sound(1)), ("site B/001.wav", sound(2))]), "Mara", "running")
    assert [row.file for row in labelled(project, guesses=False)] == ["site A/001.wav", "site B/001.wav"]
    file = store.folder / "x.zip"
    export_project(project, file)
    assert [item.path for item in import_project(store, file, "Jo").items()] == ["site A/001.wav", "site B/001.wav"]


@pytest.mark.parametrize("label", ["زنگ\u200cدر", "👩\u200d🚒 fire", "no\u00a0break", "a, b: c; “d”", "=1+1"])
def test_labels_in_any_script_are_fine(project, label):
    assert project.add_labels([label], "Mara") == {label: label}
    with pytest.raises(BadRequest, match="one line"):
        project.add_labels(["turned \u202e round"], "Mara")


def test_a_file_with_notices_keeps_them(project):
    data = from_samples(np.stack([np.zeros(8000), np.linspace(-1, 1, 8000)], axis=1), 8000).data
    add_files(project, [("one side.wav", data)], "Mara", "running")
    (item,) = project.items()
    assert [notice.code for notice in item.notices] == ["mix"]
    (row,) = labelled(project, guesses=False)
    assert row.notices[0]["code"] == "mix" and "mix: The first channel is silent" in to_csv([row])


def test_a_project_of_the_first_version_is_brought_up_to_date(store, project):
    add_files(project, [("a.wav", sound(1))], "Mara")
    with project.db.write() as db:
        db.execute("ALTER TABLE clip DROP COLUMN path")
        db.execute("ALTER TABLE clip DROP COLUMN notices")
        db.execute("PRAGMA user_version = 1")
    (item,) = Store(store.folder).open(project.id).items()
    assert (item.path, item.notices, item.name) == ("", [], "a.wav")


# A disk that is full


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_made(project, monkeypatch):
    files, sync = sounds("a.wav", "b.wav", "c.wav"), os.fsync
    written = []

    def full(handle):
        written.append(handle)
        if len(written) > 3:  # file and folders of the first sound
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(media.os, "fsync", full)
    with pytest.raises(NoSpace, match="1 of 3 sounds") as error:
        add_files(project, files, "Mara")
    sentence(error)
    monkeypatch.undo()
    assert [item.name for item in project.items()] == ["a.wav"] and len(stored_files(project.folder)) == 1
    assert len(add_files(project, files, "Mara").clips) == 2


def test_a_full_database_is_one_sentence_and_loses_nothing(project):
    add_files(project, sounds("a.wav"), "Mara")
    with project.db.read() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(NoSpace, match="full"):
        for n in range(1000):
            project.set_labels([Label("running", "x" * 400 + str(n)), "cavitating"], "Mara")
    labels = project.labels
    assert project.item(1).state == "open" and Store(project.folder.parent).open(project.id).labels == labels


def test_a_project_that_cannot_be_made_leaves_no_trace(store, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(media.os, "fsync", full)
    with pytest.raises(NoSpace):
        store.create("Pumps", ["a"], "Mara")
    assert list(store.folder.iterdir()) == []


# History


def test_every_change_says_who(project):
    add_files(project, sounds("a.wav"), "Jo")
    queue = ReviewQueue(project)
    item = queue.next_clip("Ada")
    queue.accept(item.id, "running", "Ada", item.version)
    project.relabel(1, "cavitating", "Mara", project.item(1).version)
    assert [(change.who, change.action) for change in project.history()] == [
        ("Mara", "relabelled"),
        ("Ada", "accepted"),
        ("Jo", "added"),
        ("Mara", "created"),
    ]
    assert project.history(clip_id=1)[0].before == {"state": "example", "label": "running"}


def test_changes_are_taken_back_in_turn(project):
    add_files(project, sounds("a.wav"), "Jo", "running")
    project.relabel(1, "cavitating", "Ada", 1)
    project.discard(1, "Mara", 2)
    discarded, relabelled, added = project.history(3)
    with pytest.raises(Changed, match=r"Mara changed “a.wav” after that"):
        project.undo_change(relabelled.id, "Jo")
    project.undo_change(discarded.id, "Jo")
    assert (project.item(1).state, project.item(1).label) == ("example", "cavitating")
    project.undo_change(relabelled.id, "Jo")
    assert project.item(1).label == "running"
    for change in (relabelled, added):
        with pytest.raises(BadRequest, match="taken back"):
            project.undo_change(change.id, "Jo")


def test_labels_are_taken_back_unless_they_are_used(project):
    project.set_labels(["running", "cavitating", "leaking"], "Jo")
    change = project.history(1)[0]
    add_files(project, sounds("a.wav"), "Jo", "leaking")
    with pytest.raises(BadRequest, match="cannot go"):
        project.undo_change(change.id, "Mara")
    project.discard(1, "Jo", 1)
    project.undo_change(change.id, "Mara")
    assert [label.name for label in project.labels] == ["running", "cavitating"]
