"""The Teach page, driven by Streamlit's AppTest over an engine that takes each sound for the words of its name."""

import io
import threading
import zipfile

import numpy as np
from pages_support import button, good, page, visit
from teach_support import added, new, project, rested, reviewer, said_by, shown, tab, teach, tutorial, uploader
from teaching import sound

from afcore.app import teach_exports
from afcore.app.teach_session import EXPORT, LONG, PROOF, REVIEW, SETUP, TeachSession
from afcore.audio.recording import from_samples
from afcore.teach.exports import to_csv
from afcore.teach.schema import EXAMPLE, NONE, OPEN, SKIPPED, TEST
from afcore.teach.transfer import export_project
from afcore.teach.tutorial import CLASSES, GIVEN, QUEUED
from pages.teach_common import store


def test_the_tutorial_from_the_first_click_to_the_gain_and_the_csv(app):
    tutorial(app)
    assert teach(app).tab == REVIEW and project(app).counts().open == QUEUED * len(CLASSES)
    for left in range(QUEUED * len(CLASSES), 0, -1):
        assert any(f"**{left}** left" in p.proto.text for p in app.get("progress")) or f"**{left}** left" in said_by(
            app
        )
        truth = shown(app).truth
        good(button(app, truth).click().run())
        rested(app)
    assert "Every clip has been judged" in said_by(app) and project(app).counts().example == (GIVEN + QUEUED) * len(
        CLASSES
    )

    good(button(app, "See what your labels brought").click().run())
    assert teach(app).tab == PROOF
    rested(app)
    zero, shots, plain = (metric.value for metric in app.metric)
    assert (zero, shots, plain) == ("25%", "100%", "100%")  # the fake guesses the first label until it has shots
    assert "never shown" in said_by(app) and "Suggested" in said_by(app)

    tab(app, EXPORT)
    rows = teach_exports.labelled(project(app), guesses=False)
    assert len(rows) == (GIVEN + QUEUED) * len(CLASSES) and {row.by for row in rows} == {"Mara"}
    assert to_csv(rows).startswith("file,start,end,label")
    assert {b.proto.label for b in app.get("download_button")} >= {"CSV", "JSON lines", "Audacity", "Raven"}


def test_what_is_judged_becomes_an_example_and_undo_brings_the_clip_back(app):
    tutorial(app)
    item, before = shown(app), project(app).revision
    good(button(app, "hallway").click().run())
    assert project(app).item(item.id).state == EXAMPLE and project(app).revision == before + 1
    rested(app)
    assert shown(app).id != item.id
    good(button(app, "Undo").click().run())
    assert project(app).item(item.id).state == OPEN and shown(app).id == item.id
    good(button(app, "None of these").click().run())
    assert project(app).item(item.id).state == NONE
    second = shown(app)
    good(button(app, "Skip").click().run())
    assert project(app).item(second.id).state == SKIPPED and "skipped" in said_by(app)
    for _ in range(2):
        good(button(app, "Undo").click().run())
    button(app, "Undo").click().run()
    assert "nothing of yours to take back" in said_by(app)


def test_a_late_second_click_judges_nothing_else(app):
    tutorial(app)
    item = shown(app)
    good(button(app, "hallway").click().run())
    following = shown(app)
    # The page has moved on; the browser sends the old button once more.
    teach(app).judge(item, "hallway")
    assert project(app).item(following.id).state == OPEN and project(app).item(item.id).version == item.version + 1


def test_predictions_go_stale_with_a_label_and_are_made_afresh(app, engine, monkeypatch):
    tutorial(app)
    teach(app).work = teach(app).loop.start()
    teach(app).work.wait(30)
    good(app.run())
    loop = teach(app).loop
    monkeypatch.setattr(type(loop), "start", lambda self: teach(app).work)  # nothing is made afresh for now
    good(button(app, shown(app).truth).click().run())
    assert "Stale" in said_by(app) and loop.stale() == project(app).counts().open
    monkeypatch.undo()


def test_two_reviewers_never_get_the_same_clip_and_see_each_other(app):
    tutorial(app)
    ben = reviewer("Ben")
    good(button(ben, "Open").click().run())
    rested(ben)
    assert shown(ben).id != shown(app).id and "Mara is judging" in said_by(ben)
    mine = shown(app)
    project(app).relabel(mine.id, "garden", "Ben", mine.version)
    button(app, "hallway").click().run()
    assert "Ben changed" in said_by(app) and project(app).item(mine.id).label == "garden"
    good(app.run())
    assert "Ben · relabelled" in said_by(app)
    ids = {shown(app).id, shown(ben).id}
    tab(ben, SETUP)  # whoever goes away gives the clip back
    assert len(ids) == 2 and [who for _, who in teach(app).loop.queue.in_hands()] == ["Mara"]


def test_a_refusal_stands_until_it_is_read_also_when_the_page_draws_itself_anew(app, monkeypatch):
    tutorial(app)
    mine = shown(app)
    project(app).relabel(mine.id, "garden", "Ben", mine.version)
    anew = iter([True])  # a prediction comes just when the card has been drawn
    monkeypatch.setattr(TeachSession, "card_is_stale", lambda self: next(anew, False))
    button(app, "hallway").click().run()
    assert "Ben changed" in said_by(app) and not list(anew)
    assert "Ben changed" not in said_by(good(app.run()))


def test_a_project_of_ones_own_from_files_and_a_zip(app):
    new(app, "Pumps", "dog: barks\ncat")
    assert [(label.name, label.description) for label in project(app).labels] == [("dog", "barks"), ("cat", "")]
    added(app, [(f"dog {n}.wav", sound(n)) for n in range(2)], 1)
    added(app, [("cat 1.wav", sound(50)), ("broken.wav", b"hello")], 2)
    assert "broken.wav" in said_by(app) and "1 sound added" in said_by(app)
    added(app, [("dog 8.wav", sound(8)), ("cat 9.wav", sound(9)), ("dog 0.wav", sound(0))])
    assert "in the project already" in said_by(app)
    counts = project(app).counts()
    assert (counts.example, counts.open) == (3, 2)
    rested(good(button(app, "Review the 2 clips").click().run()))
    rested(app)
    truth = shown(app).name.split()[0]
    assert project(app).prediction(shown(app).id).label == truth
    for _ in range(2):
        good(button(app, shown(app).name.split()[0]).click().run())
        rested(app)
    assert "Every clip has been judged" in said_by(app)


def test_a_project_goes_out_as_a_file_and_comes_in_again(app):
    tutorial(app)
    good(button(app, shown(app).truth).click().run())
    data, before = teach_exports.project_file(project(app)), project(app)
    good(button(app, "All projects").click().run())
    uploader(app, "A project that was exported, as a zip").upload("project.zip", data, "application/zip")
    good(button(app, "Open the file").click().run())
    after = project(app)
    assert after.id != before.id and after.counts().example == before.counts().example
    again = io.BytesIO()
    export_project(after, again)
    names = [sorted(zipfile.ZipFile(file).namelist()) for file in (io.BytesIO(data), again)]
    assert names[0] == names[1]

    good(button(app, "All projects").click().run())
    uploader(app, "A project that was exported, as a zip").upload("other.zip", b"PK nothing", "application/zip")
    button(app, "Open the file").click().run()
    [error] = app.error
    assert "zip" in error.value and len(store().projects()) == 2


def test_a_name_is_asked_for_before_anything_is_saved(engine):
    at = good(page(visit(), "teach"))
    button(at, "Try the tutorial project").click().run()
    [error] = at.error
    assert "who you are" in error.value and store().projects() == []


def test_labels_are_not_overwritten_when_somebody_was_faster(app):
    new(app, "Pumps", "dog\ncat")
    project(app).set_labels(["dog", "cat", "cow"], "Ben")
    button(app, "Save the labels").click().run()
    assert "Ben changed the labels" in said_by(app) and len(project(app).labels) == 3
    good(button(app, "Show what is saved").click().run())
    area = next(w for w in app.text_area if w.label.startswith("One a line"))
    assert area.value.split("\n") == ["dog", "cat", "cow"]
    area.set_value("dog\ncat\nowl")
    good(button(app, "Save the labels").click().run())
    assert [label.name for label in project(app).labels] == ["dog", "cat", "owl"]


def test_test_clips_come_by_folder_and_leave_one_out_is_said_as_such(app):
    new(app, "Pumps", "dog\ncat")
    for place, name in ((1, "dog"), (2, "cat")):
        added(app, [(f"{name} {n}.wav", sound(10 * place + n)) for n in range(3)], place)
    tab(app, PROOF)
    assert "leave-one-out" in said_by(app)
    good(button(app, "Start the test").click().run())
    rested(app)
    assert "leave-one-out" in said_by(app) and app.metric[1].value == "100%"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as out:
        for place, name in ((5, "dog"), (6, "cat")):
            out.writestr(f"{name}/{name} 7.wav", sound(10 * place))
    uploader(app, "A zip of labelled folders").upload("tests.zip", file.getvalue(), "application/zip")
    button(app, "Add the test clips").click().run()
    rested(app)
    assert len(project(app).items(TEST)) == 2 and "before the last change" in said_by(app)


def test_the_suggested_method_is_used_on_a_click(app):
    tutorial(app)
    tab(app, PROOF)
    good(button(app, "Start the test").click().run())
    rested(app)
    use = next(b for b in app.button if b.label.startswith("Use it: "))
    good(use.click().run())
    settings = project(app).settings
    assert f"{settings.k} example" in use.label and settings.method == "lm-shots" and settings.k != 4


def test_why_says_what_each_example_changed(app):
    tutorial(app)
    for _ in range(2):
        good(button(app, shown(app).truth).click().run())
        rested(app)
    good(button(app, "Work it out").click().run())
    rested(app)
    assert "moves" in said_by(app) and "OPTIONS" in "".join(code.value for code in app.code)


def test_a_long_recording_is_labelled_and_goes_to_the_review(app):
    tutorial(app)
    tab(app, LONG)
    uploader(app, "A long recording").upload("footsteps long.wav", sound(999, 12.0), "audio/wav")
    good(button(app, "Open").click().run())
    good(button(app, "Find the labels").click().run())
    rested(app)
    assert "4 segments" in said_by(app)
    before = project(app).counts().open
    good(button(app, "Send the segments to the review").click().run())
    assert teach(app).tab == REVIEW and project(app).counts().open == before + 4


def test_the_background_work_is_paused_and_resumed(app, engine, monkeypatch):
    tutorial(app)
    go, probabilities = threading.Event(), engine.probabilities
    monkeypatch.setattr(engine, "probabilities", lambda *a, **more: go.wait(60) and probabilities(*a, **more))
    state = teach(app)
    project(app).set_labels([*project(app).labels, "rain"], "Ben")
    good(app.run())
    state.work.stop()
    go.set()
    assert state.work.wait(30)
    good(app.run())
    assert "Paused" in said_by(app)
    good(button(app, "hallway").click().run())
    assert state.work.stopped, "a judgement does not end a pause"
    good(button(app, "Resume").click().run())
    rested(app)
    assert "up to date" in said_by(app) and state.loop.stale() == 0


def test_one_rule_for_channels_is_set_and_notices_stand_in_the_table(app):
    new(app, "Sides", "low\nhigh")
    sides = np.stack([np.zeros(8000), np.sin(np.arange(8000) / 5)], axis=1)
    added(app, [("sides.wav", from_samples(sides, 8000).data)], 1)
    box = next(w for w in app.selectbox if w.label.startswith("Which channel is heard"))
    box.set_value("one")
    good(button(app, "Save").click().run())
    assert project(app).settings.channels == "one"
    tab(app, EXPORT)
    [table] = app.dataframe
    assert "so the mix" in table.value["notices"].iloc[0]
