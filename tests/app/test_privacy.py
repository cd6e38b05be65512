"""What the pages promise about what is kept."""

from teaching import sounds

from afcore.app.kept_sessions import DAY
from afcore.app.privacy import KEPT, SIDEBAR
from afcore.teach.ingest import add_files
from afcore.teach.schema import Label
from afcore.teach.store import Store


def test_each_kind_of_thing_says_where_how_long_who_and_how_it_is_deleted():
    for kept in KEPT:
        assert all((kept.what, kept.where, kept.how_long, kept.who, kept.delete))
    assert "day" in SIDEBAR and DAY == 86_400 and any("listed to all" in kept.who for kept in KEPT)


def test_a_project_that_is_deleted_for_good_leaves_nothing(tmp_path):
    store = Store(tmp_path / "projects")
    kept = store.create("Kept", [Label("dog")], "Mara")
    for name in ("Hidden", "Gone"):
        project = store.create(name, [Label("dog")], "Mara")
        add_files(project, sounds("dog 1.wav"), "Mara")
        store.remove(project.id, "Mara", for_good=name == "Gone")
    left = sorted(folder.name for folder in (tmp_path / "projects").iterdir())
    assert len(left) == 2 and left[0].startswith(".removed-hidden") and left[1] == kept.id
    store.close()
