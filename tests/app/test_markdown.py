"""Text of others inside Markdown."""

from afcore.app.markdown import markdown_safe, with_commands


def test_text_of_others_cannot_draw():
    assert (
        markdown_safe("![x](http://y) <b> :material/lock:") == "!\\[x\\](http\\:\u2060//y) \\<b\\> \\:material/lock\\:"
    )
    assert with_commands("a_b: `get x_y`.") == "a\\_b\\: `get x_y`." and with_commands("a`b") == "a\\`b"
