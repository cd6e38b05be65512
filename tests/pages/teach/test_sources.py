"""Teach by AppTest: sounds from a zip, the microphone, the example bank and a folder of the server; none of these."""

import io
import zipfile

from pages_support import button, good, texts
from teach_support import added, field, new, project, rested, said_by, shown, tab, teach, tutorial, uploader
from teaching import sound

from afcore.app import teach_exports
from afcore.app.teach_session import PROOF, REVIEW, SETUP
from afcore.teach.schema import EXAMPLE, NONE, OPEN, TEST
from pages import recorder
from pages.teach_add import BY_FOLDER, FOUND


def control(at):
    [found] = [w for w in at.segmented_control if w.label == "Where from?"]
    return found


def source(at, name, place=0):
    """The set-up at another source; ``place`` 0: clips to label, n: examples of the n-th label."""
    next(w for w in at.selectbox if w.label == "What are they?").set_value(place).run()
    return good(control(at).set_value(name).run())


def add(at, label="Add"):
    """Clicked, and waited for."""
    button(at, label).click().run()
    teach(at).jobs["add"].wait(60)
    return at.run()


def packed(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for name, data in members.items():
            out.writestr(name, data)
    return file.getvalue()


def labelled(at):
    return {(item.name, item.label) for item in project(at).items()}


def test_a_zip_is_labelled_by_its_folders_and_what_was_left_out_is_named(app):
    new(app, "Pumps", "dog\ncat")
    source(app, "Zip")
    members = {
        "dog/dog 1.wav": sound(1),
        "new_owl/owl 1.wav": sound(2),
        "../../evil.wav": sound(3),
        "notes.txt": b"x",
        "cat/broken.wav": b"hello",
    }
    uploader(app, "A zip of sound files").upload("sounds.zip", packed(members), "application/zip")
    next(w for w in app.checkbox if w.label == BY_FOLDER).check()
    good(add(app))
    assert labelled(app) == {("dog 1.wav", "dog"), ("owl 1.wav", "new owl")} and "2 sounds added" in said_by(app)
    assert [label.name for label in project(app).labels] == ["dog", "cat", "new owl"]
    assert all(
        words in said_by(app) for words in ("points out of the zip", "“notes.txt” stands in no folder", "“broken.wav”")
    )
    source(app, "Zip", 2)
    uploader(app, "A zip of sound files").upload("more.zip", packed({"a/cat 7.wav": sound(7)}), "application/zip")
    good(add(app))
    assert ("cat 7.wav", "cat") in labelled(app)
    uploader(app, "A zip of sound files").upload("no.zip", b"PK no zip", "application/zip")
    [error] = add(app).error
    assert "“no.zip”" in error.value and len(labelled(app)) == 3


def test_names_in_a_code_page_are_shown_before_they_are_taken(app):
    new(app, "Pumps", "dog")
    source(app, "Zip")
    raw = "犬/吠える.wav".encode("cp932")
    holder = "x" * len(raw)
    data = packed({holder: sound(1)}).replace(holder.encode(), raw)
    good(uploader(app, "A zip of sound files").upload("old.zip", data, "application/zip").run())
    box = next(w for w in app.selectbox if w.label.startswith("Its names"))
    assert "吠える" not in texts(app)
    good(box.set_value("cp932").run())
    assert "犬/吠える.wav" in texts(app)
    next(w for w in app.checkbox if w.label == BY_FOLDER).check()
    good(add(app))
    assert labelled(app) == {("吠える.wav", "犬")}


def test_a_recording_is_added_and_the_recorder_is_empty_for_the_next(app, monkeypatch):
    monkeypatch.setattr(recorder.shutil, "which", lambda name: None)  # Streamlit's own recorder: AppTest can drive it
    new(app, "Pumps", "dog\ncat")
    source(app, "Record", 1)
    for number in (1, 2):
        [microphone] = app.audio_input
        assert microphone.sample_rate == 48_000 and "Add the recording" not in [b.label for b in app.button]
        good(microphone.upload("audio.wav", sound(number)).run())
        good(add(app, "Add the recording"))
    assert labelled(app) == {("recording 1.wav", "dog"), ("recording 2.wav", "dog")}


def test_sounds_of_the_bank_are_found_by_words_and_added_once(app, engine):
    new(app, "House", "zap\ndrum")
    source(app, "Example bank", 1)
    good(field(app, "Search the example bank").set_value("bird chirping").run())
    assert sum(b.label == "Add" for b in app.button) == FOUND and said_by(app).count("**bird chirping**") == FOUND
    good(add(app))
    [item] = project(app).items()
    assert item.state == EXAMPLE and item.label == "zap" and item.name.startswith("bird chirping")
    example = next(e for e in engine.bank.examples() if e.sha256 == item.sha256)
    assert example.label == "bird chirping" and "1 sound added" in said_by(app)
    good(add(app))
    assert "in the project already" in said_by(app) and len(project(app).items()) == 1


def test_a_folder_of_the_server_is_read_where_that_is_allowed(app, tmp_path, monkeypatch):
    new(app, "Pumps", "dog\ncat")
    assert "Server folder" not in control(app).options
    for name in ("recordings", "secret"):
        (tmp_path / name / "dog").mkdir(parents=True)
        (tmp_path / name / "dog" / f"{name} 1.wav").write_bytes(sound(len(name)))
    monkeypatch.setenv("AFCORE_SERVER_FOLDERS", str(tmp_path / "recordings"))
    good(app.run())
    source(app, "Server folder")
    assert field(app, "Folder on this server").value == str(tmp_path / "recordings")
    field(app, "Folder on this server").set_value(str(tmp_path / "secret"))
    [error] = add(app).error
    assert "may not be read" in error.value and not project(app).items()
    field(app, "Folder on this server").set_value(str(tmp_path / "recordings"))
    next(w for w in app.checkbox if w.label == BY_FOLDER).check()
    good(add(app))
    assert labelled(app) == {("recordings 1.wav", "dog")}

    (tmp_path / "recordings" / "tests" / "cat").mkdir(parents=True)
    (tmp_path / "recordings" / "tests" / "cat" / "cat 7.wav").write_bytes(sound(77))
    tab(app, PROOF)
    place = field(app, "Or a folder on this server with a folder in it for each label")
    place.set_value(str(tmp_path / "recordings" / "tests"))
    button(app, "Add the folder's test clips").click().run()
    rested(app)
    assert [(item.name, item.label) for item in project(app).items(TEST)] == [("cat 7.wav", "cat")]


def test_a_limit_for_none_of_these_is_found_and_keeps_strangers_out(app):
    new(app, "House", "footsteps\nbird chirping")
    tab(app, PROOF)
    button(app, "Find the limit").click().run()
    teach(app).jobs["limit"].wait(60)
    [error] = app.run().error
    assert "at least 5 examples" in error.value
    tab(app, SETUP)
    for place, name in ((1, "footsteps"), (2, "bird chirping")):  # other sounds than the bank's
        added(app, [(f"{name} {n}.wav", sound(5000 + 100 * place + n)) for n in range(6)], place)
    added(app, [("footsteps 3.wav", sound(900)), ("fire crackling 9.wav", sound(901))])
    tab(app, PROOF)
    assert "find it again" in said_by(app)
    good(button(app, "Find the limit").click().run())
    rested(app)
    assert "Of 7 sounds that have none of the labels, 0 % got one" in said_by(app), "the other two labels of the bank"
    good(button(app, "Use this limit").click().run())
    settings = project(app).settings
    assert settings.reject_below is not None or settings.reject_similarity is not None
    assert "The project uses this limit" in said_by(app)

    tab(app, REVIEW)
    rested(app)
    rows = {row.file: row.label for row in teach_exports.labelled(project(app), guesses=True) if row.by != "Mara"}
    assert rows == {"footsteps 3.wav": "footsteps", "fire crackling 9.wav": None}
    while shown(app).name != "fire crackling 9.wav":
        good(button(app, "Skip").click().run())
    assert "The model thinks: **none of these**" in said_by(app)
    good(button(app, "None of these").click().run())
    [stranger] = project(app).items(NONE)
    assert stranger.name == "fire crackling 9.wav"


def test_a_change_is_taken_back_from_the_history_unless_somebody_was_there_since(app):
    tutorial(app)
    item = shown(app)
    good(button(app, "hallway").click().run())
    project(app).relabel(item.id, "garden", "Ben", item.version + 1)
    good(app.run())
    by_ben, mine = (f"teach-back-{change.id}" for change in project(app).history(2))
    app.button(key=mine).click().run()
    [error] = app.error
    assert "Ben changed" in error.value and project(app).item(item.id).label == "garden"
    good(app.button(key=by_ben).click().run())
    assert project(app).item(item.id).label == "hallway"
    good(app.button(key=mine).click().run())
    assert project(app).item(item.id).state == OPEN and "taken back since" in said_by(app)
