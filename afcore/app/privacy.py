"""What is kept where, for how long, and who sees it: one text for all pages, so that each says what is true."""

from dataclasses import dataclass

SIDEBAR = (
    "Your audio stays on this server: nothing is sent elsewhere, and no usage statistics are collected. A sound and "
    "its chat are kept for a day, so that a reload finds them; whoever gets this page's address can open a copy. The "
    "About page says what else is kept."
)


@dataclass(frozen=True)
class Kept:
    """One kind of thing that is kept."""

    what: str
    where: str
    how_long: str
    who: str
    """Who can see it."""
    delete: str
    """How to delete it."""


KEPT = (
    Kept(
        "The sound, chat and settings of Listen, Retrieve and Chat",
        "In this server's memory, and for a reload in its data folder",
        "A day after the last change",
        "You, and whoever gets your page's address: they see a copy",
        "“Forget this sound now” in the sidebar, and below",
    ),
    Kept(
        "Teach's projects: sounds, labels, who said what",
        "In this server's projects folder",
        "Until somebody deletes the project",
        "Everybody who can open this app: projects are listed to all visitors",
        "Teach, Set up, “This project”: take it off the list, or delete it for good",
    ),
    Kept(
        "Example banks of your own: sounds, labels, captions",
        "In this server's data folder",
        "Until somebody deletes the bank",
        "Everybody who can open this app: banks are listed to all visitors",
        "Retrieve, “Example banks of your own”",
    ),
    Kept(
        "Models of your own, with the held-out questions and their answers",
        "In this server's data folder",
        "Until somebody deletes the model",
        "Everybody who can open this app: models are listed to all visitors",
        "Fine-tune, “Your models”",
    ),
    Kept(
        "Sounds and questions that models of your own were trained on",
        "In this server's data folder",
        "Until somebody deletes them",
        "Nobody but the server",
        "Fine-tune, “Delete training data”",
    ),
    Kept(
        "Thumbs on answers: question, answer, exact prompt, the sound's name and hash, not the sound",
        "In this server's data folder",
        "Until somebody deletes them",
        "Everybody who can open this app: they can be downloaded on this page",
        "“Delete all thumbs” below",
    ),
    Kept(
        "Results that you share: answers, prompts, settings, the part of the sound that was heard; of comparisons its "
        "name alone",
        "In this server's data folder; their ids also in your browser (a cookie)",
        "A month",
        "Whoever has the link",
        "“Delete” beside each, below",
    ),
    Kept(
        "Your name on the Teach page",
        "In your browser (a cookie), and beside each change that you make in a project",
        "A year in the browser; in the project as long as it",
        "Whoever opens the project",
        "“Forget my name” below takes it out of the browser",
    ),
)
"""In the order in which it is shown."""
