"""Text of models, files and people inside Markdown, so that it stays text."""


def markdown_safe(text: str) -> str:
    """Text of a model or a file as plain text in Markdown: no images, links, maths or headings of its making.

    Addresses get an invisible word joiner, since Markdown makes links of them however they are escaped.
    """
    text = text.replace("@", "@\u2060").replace("://", ":\u2060//").replace("www.", "www\u2060.")
    return "".join("\\" + char if char in "\\`*_[]<>#|$~:&" else char for char in text)


def with_commands(text: str) -> str:
    """`markdown_safe`, but for what stands between backticks: commands, which Markdown shows as they are."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return markdown_safe(text)
    return "".join(f"`{part}`" if n % 2 else markdown_safe(part) for n, part in enumerate(parts))
