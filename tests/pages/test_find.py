"""Listen's timeline of a whole recording, driven by Streamlit's AppTest over an engine whose answers are made up."""

from media import chirps, encode
from pages_support import button, good, session, texts, upload

from afcore.app import find
from afcore.engine import timeline


def _listened(at):
    job = session(at).jobs[find.JOB]
    assert job.wait(60) and job.error is None, job.error
    return good(at.run())


def test_a_recording_of_some_windows_gets_its_timeline_by_itself_and_places_can_be_heard(app):
    good(upload(app, encode(chirps(20.0, 16_000), 16_000)))
    app = _listened(app)
    assert "What is heard when" in [heading.value for heading in app.header]
    assert "barking" in texts(app) or "dog" in texts(app).lower()
    [words] = [box for box in app.text_input if box.label == "Where is the …?"]
    good(words.set_value("dog").run())
    assert "“dog” is heard in" in texts(app) or "nowhere heard clearly" in texts(app)
    places = [one for one in app.button if one.key.startswith("place-")]
    good(places[0].click().run())
    assert session(app).key("play-from") in app.session_state


def test_a_long_one_is_gone_through_when_it_is_asked_for(app):
    good(upload(app, encode(chirps(70.0, 8_000), 8_000)))
    assert find.JOB not in session(app).jobs
    app = _listened(good(button(app, "Listen to all of it").click().run()))
    assert len(session(app).jobs[find.JOB].items) == 19


def test_one_that_was_stopped_goes_on_where_it_was(app, engine, monkeypatch):
    good(upload(app, encode(chirps(70.0, 8_000), 8_000)))
    hear, heard = engine.hear, []

    def hear_few(clip, **more):
        heard.append(clip.start)
        if len(heard) == 5:
            session(app).jobs[find.JOB].stop()
        return hear(clip, **more)

    monkeypatch.setattr(engine, "hear", hear_few)
    good(button(app, "Listen to all of it").click().run())
    job = session(app).jobs[find.JOB]
    assert job.wait(60) and job.stopped
    count = len(job.items)
    assert 0 < count < 19
    assert "So far, up to" in texts(good(app.run())), "a part is not told as the whole"
    app = _listened(good(button(app, "Listen to the rest").click().run()))
    assert "So far" not in texts(app)
    windows = session(app).jobs[find.JOB].items
    assert [window.start for window in windows] == timeline.starts(70.0) and windows[:count] == job.items
    assert "Listen to the rest" not in [one.label for one in app.button]


def test_another_sound_has_no_timeline_of_the_last(app):
    good(upload(app, encode(chirps(20.0, 16_000), 16_000)))
    first = session(app).jobs[find.JOB]
    good(upload(app, encode(chirps(20.0, 16_000, seed=1), 16_000), "other.wav"))
    assert session(app).jobs[find.JOB] is not first
