"""Listen's "which of these?": what is asked about unless somebody chooses."""

import pytest

from afcore.app.closed_question import CHOSEN, chosen


@pytest.mark.parametrize(
    ("offered", "asked"),
    [
        (["dog", "dog or wolf", "dog barking", "cat meowing", "wolf howling"], ["dog", "cat meowing", "wolf howling"]),
        (["dog barking", "Dog", "rain"], ["dog barking", "rain"]),
        (["car", "carpet", "bell", "rain", "wind"], ["car", "carpet", "bell", "rain"]),
        (["dog", "dog barking"], ["dog", "dog barking"]),
        (["dog"], ["dog"]),
        ([], []),
    ],
)
def test_what_is_asked_about_does_not_say_the_same_twice(offered, asked):
    assert chosen(offered) == asked and len(asked) <= CHOSEN
