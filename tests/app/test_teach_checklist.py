"""What is still to do while a project is set up, label by label."""

from afcore.app.teach_advice import checklist


def test_each_label_says_what_it_has_and_what_would_help():
    none, one, two = checklist(["a", "b", "c"], ["b", "c", None, "c", "c"])
    assert (none.says, none.done) == ("no example yet, 2 more would help", False)
    assert (one.says, one.done) == ("1 example, 1 more would help", False)
    assert (two.says, two.done) == ("3 examples", True)
