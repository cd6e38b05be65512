"""Judges of answers: one small rule per kind of question, from the text alone and what is truly heard.

Each says "right", "partly", "wrong" or "refused". "refused" is an answer that declines and says nothing that could be
judged; where the question has no answer in the sound (`cannot_tell`), declining is right. What an answer names is found
by `afcore.evaluation.mentions`; what the clip's `Truth` leaves open counts neither way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from afcore.evaluation.mentions import DENIED, LABEL, NEVER, Mention, claims, mentions, repeats, stems_of
from afcore.evaluation.naming import refuses
from afcore.evaluation.places import places_in, sides_in
from afcore.evaluation.truth import Truth, above, classes_of_label
from afcore.knowledge.table import ATTENTION, LIKELY, PLACES, ancestors, by_name, place_weights

RIGHT, PARTLY, WRONG, REFUSED = VERDICTS = ("right", "partly", "wrong", "refused")
LONGEST_TITLE, LONGEST_LINE, LONGEST_TAG = 8, 30, 4  # words

DECLINES = re.compile(
    r"\b(?:no|neither|not even) (?:sound|recording|clip|audio|ear)\b.*\b(?:tell|say|show|reveal|give)s?\b|"
    r"\b(?:sound|recording|clip|audio|ear|hearing)s?(?: alone| itself)? (?:does not|doesn't|do not|don't|cannot|can't|"
    r"won't|will not|never) (?:really )?(?:tell|say|show|reveal|give|carry|contain|answer)|"
    r"\b(?:hard|difficult) to (?:say|tell)|\bno way (?:to|of)\b|\b(?:can|could)(?: only)? not be (?:heard|told|known)|"
    r"\b(?:is|are|was|were)(?: not|n't) (?:something|a thing|anything) (?:that )?(?:I|one|you|a sound)|"
    r"\bnot (?:heard|audible|hear (?:that|it|this))\b|\bnobody (?:can|could)\b|\bonly (?:hear|the sound)\b",
    re.IGNORECASE,
)
YES = re.compile(
    r"^\W*(?:yes|yeah|yep|yup|sure|correct|true|indeed|right|exactly|that is (?:right|so)|(?:it|there) is\W*$|i do\W*$)"
)
NO = re.compile(
    r"^\W*(?:no|nope|nah|false|not|wrong|never|that is (?:not|wrong)|(?:it|there) is(?: not|n't)|i (?:do not|don't))\b"
)
NOTHING_ELSE = re.compile(
    r"\b(?:nothing (?:else|more|further|besides)|no(?:thing)? other|that(?: is|'s) (?:all|it|everything)|"
    r"no (?:more|further|second)|only (?:one|that|this|the)|just (?:one|that|this|the)|do(?: not|n't) (?:hear|notice) "
    r"any)|^\W*(?:no|none|nothing)\b"
)


@dataclass(frozen=True)
class Question:
    """What was asked about a clip, and what a judge needs to know of it."""

    kind: str
    text: str
    truth: Truth
    thing: str = ""
    """is_there: the class that was asked for."""
    options: tuple[tuple[str, str], ...] = ()
    """which_of: (word, class) of each."""
    earlier: tuple[tuple[str, str], ...] = ()
    """Turns before it: (question, answer)."""


@dataclass(frozen=True)
class Named:
    """What an answer says is heard, sorted by what is known; a false sort of something heard is true and false."""

    true: tuple[Mention, ...]
    open: tuple[Mention, ...]
    false: tuple[Mention, ...]
    denied: tuple[Mention, ...]

    @property
    def asserted(self) -> tuple[Mention, ...]:
        return tuple(dict.fromkeys((*self.true, *self.open, *self.false)))


def named_in(said: str, truth: Truth) -> Named:
    """What an answer names. Where it has all words of what the table says of a class heard, or of what makes it, these
    words name that class and nothing else ("a truck beeps as it backs up" is a reversing truck, no beep of another)."""
    found = mentions(said, truth.label, truth.called)
    words, own, theirs = stems_of(asserted_text(said)), list[Mention](), set[str]()
    for sound in truth.classes:
        for text in (sound.noun, *sound.phrases, *re.split(r", | or ", sound.source), sound.source):
            stems = stems_of(text)
            if stems and stems <= words and not (len(stems) == 1 and stems <= NEVER):
                own.append(Mention(stems, frozenset((sound.name,)), by_source=text in sound.source))
                theirs |= stems
    by: dict[str, list[Mention]] = {"true": [], "open": [], "false": []}
    for one in found:
        verdict = truth.verdict(one)
        if one.denied or (verdict in ("half", "false") and one.words <= theirs):
            continue
        for name in ("true", "false") if verdict == "half" else (verdict,):
            by[name].append(one)
    said_so = [one for one in own if not (one.by_source and by["false"])]  # "a person coughs" is not a person speaking
    true = tuple(dict.fromkeys((*by["true"], *said_so)))
    return Named(true, tuple(by["open"]), tuple(by["false"]), tuple(one for one in found if one.denied))


def declines(said: str) -> bool:
    """Whether an answer says that it cannot be given."""
    return refuses(said) or DECLINES.search(said.replace("’", "'")) is not None


def asserted_text(said: str) -> str:
    """An answer in lower case without the parts that it denies."""
    text = said.lower().replace("’", "'")
    return re.sub(rf"{DENIED.pattern}[^,;.!?]*", " ", text)


def vague(mention: Mention, truth: Truth) -> bool:
    """Whether what is true in a mention is only a whole group ("an animal") where more is known, or only what makes
    the sound."""
    if LABEL + truth.label in mention.targets:
        return False
    if mention.by_source:
        return True
    return all(by_name()[name].general and name not in truth.core for name in truth.hit(mention))


def _declined_or(verdict: str, said: str) -> str:
    return REFUSED if verdict == WRONG and (declines(said) or not said.strip()) else verdict


def _naming(question: Question, said: str, sources: bool = False) -> str:
    """Right where something true is named and nothing false; partly where both are, or only what is vague or open."""
    found = named_in(said, question.truth)
    if found.true and not found.false:
        clear = [one for one in found.true if (sources and one.by_source) or not vague(one, question.truth)]
        return RIGHT if clear else PARTLY
    if found.true or (found.open and not found.false):
        return PARTLY
    return _declined_or(WRONG, said) if not found.false else WRONG


def what(question: Question, said: str) -> str:
    """Names what is heard."""
    return _naming(question, said)


def source(question: Question, said: str) -> str:
    """Names what makes the sound, or the sound itself."""
    return _naming(question, said, sources=True)


def caption(question: Question, said: str) -> str:
    """Names what is heard in a sentence, nothing twice."""
    verdict, truth = _naming(question, said), question.truth
    short = len(said.split()) < 2 or repeats(said, truth.label, truth.called)
    return PARTLY if verdict == RIGHT and short else verdict


def alt_text(question: Question, said: str) -> str:
    """As a caption, on one line of at most `LONGEST_LINE` words; it need not be a sentence."""
    verdict, truth = _naming(question, said), question.truth
    long = "\n" in said.strip() or len(said.split()) > LONGEST_LINE or repeats(said, truth.label, truth.called)
    return PARTLY if verdict == RIGHT and long else verdict


def title(question: Question, said: str) -> str:
    """Names what is heard in at most `LONGEST_TITLE` words."""
    verdict = _naming(question, said)
    return PARTLY if verdict == RIGHT and len(said.split()) > LONGEST_TITLE else verdict


def tags(question: Question, said: str) -> str:
    """A list with commas (or hashes, or lines) of two or more short names, each once: some true and none false."""
    verdict = _naming(question, said)
    items = [item.strip(" .#-•").lower() for item in re.split(r"[,;\n#]", said) if item.strip(" .#-•")]
    listed = (
        len(items) > 1 and all(len(item.split()) <= LONGEST_TAG for item in items) and len(set(items)) == len(items)
    )
    return PARTLY if verdict == RIGHT and not listed else verdict


def _which(kind: str) -> Callable[[Question, str], str]:
    def judge(question: Question, said: str) -> str:
        found, truth = named_in(said, question.truth), question.truth
        label = classes_of_label(truth.label) if truth.label else ()
        told = not label or any(not by_name()[name].general for name in label)  # "music" tells no instrument

        def fits(one: Mention, general: bool) -> bool:
            if LABEL + truth.label in one.targets and told:
                return True
            hit = (by_name()[name] for name in truth.hit(one))
            return any(kind in sound.kinds and (general or not sound.general) for sound in hit)

        if any(fits(one, general=False) for one in found.true) and not found.false:
            return RIGHT
        if any(fits(one, general=True) for one in found.true) or (found.open and not found.false):
            return PARTLY
        return _declined_or(WRONG, said) if not found.asserted else WRONG

    judge.__doc__ = f"Names which {kind} it is, not only that it is one."
    return judge


NUMBERS = {
    **{word: n for n, word in enumerate("zero one two three four five six seven eight nine ten".split())},
    "single": 1,
    "couple": 2,
}
COUNTED = re.compile(
    rf"\b(\d+|{'|'.join(NUMBERS)})\b(?:\W+\w+){{0,2}}?\W+(?:kinds?|sorts?|types?|sounds?|things?|noises?|sources?)\b|"
    rf"^(?:\W*\b(?:only|just|about|roughly|it|is|there|are|i|hear|a|the|number|would|say|at|least|yes|no)\b)*\W*"
    rf"(\d+|{'|'.join(NUMBERS)})\b(?=\W*$|[,.:;!]|\s+(?:of|only|and|in)\b)"
)
"""A number of sounds: before a word for sounds, or at the beginning by itself."""
MANY = re.compile(r"\b(?:several|many|multiple|a few|more than one|various|a number of|mixed)\b")


def kinds(question: Question, said: str) -> str:
    """Says how many kinds of sound there are: right between how many groups of related classes are surely heard and how
    many classes, partly where one off, or where all are named without a number."""
    truth, text = question.truth, said.lower()
    low = len(truth.groups())
    high = max(low, len(truth.core)) + (1 if truth.open else 0)
    if MANY.search(text) and not re.search(r"\bnot more than one\b", text):
        return RIGHT if low > 1 else PARTLY if high > 1 else WRONG
    counted = COUNTED.search(text)
    if not counted:
        found = named_in(said, truth)
        fits = not found.false and all(any(truth.hits(one, group) for one in found.true) for group in truth.groups())
        return PARTLY if fits else WRONG if found.asserted else _declined_or(WRONG, said)
    number = counted[1] or counted[2]
    count = int(number) if number.isdigit() else NUMBERS[number]
    off = max(low - count, count - high, 0)
    return RIGHT if off == 0 else PARTLY if off == 1 and count else WRONG


def where(question: Question, said: str) -> str:
    """Names a place: right where at least half of those named are likely by the table, partly where any is possible or
    indoors and outdoors at least is right."""
    weights: dict[str, float] = {}
    for sound in question.truth.classes:
        for place, weight in place_weights(sound).items():
            weights[place] = max(weight, weights.get(place, 0.0))
    text = asserted_text(said)
    found = [weights.get(place, 0.0) for place in places_in(text)]
    if found:
        likely = sum(weight >= LIKELY["sometimes"] for weight in found)
        return RIGHT if 2 * likely >= len(found) else PARTLY if any(found) else WRONG
    sides = sides_in(text)
    if sides:
        return PARTLY if sides <= {PLACES[place][1] for place in weights} | {"either"} else WRONG
    return _declined_or(WRONG, said)


def side_of(truth: Truth) -> str:
    """ "indoors" or "outdoors" where the table says so of what is heard and nothing heard speaks against it, else
    ''."""
    sides = {sound.where for sound in truth.classes} - {"either"}
    return sides.pop() if len(sides) == 1 and truth.main.where != "either" else ""


def in_or_out(question: Question, said: str) -> str:
    """Says on which side it is; a bare yes or no counts as an answer where the question names one side alone."""
    true, text = side_of(question.truth), said.lower()
    sides = sides_in(asserted_text(said))
    denied = sides_in(text) - sides
    if not sides and len(denied) == 1:  # "not indoors"
        sides = {"indoors", "outdoors"} - denied
    if not sides:
        sides = {PLACES[place][1] for place in places_in(asserted_text(said))} - {"either"}
    asked = sides_in(question.text.lower())
    if not sides and len(asked) == 1:
        if YES.search(text):
            sides = asked
        elif NO.search(text):
            sides = {"indoors", "outdoors"} - asked
    if "either" in sides or len(sides) > 1:
        return PARTLY
    if not sides:
        return _declined_or(WRONG, said)
    return RIGHT if sides == {true} else WRONG


def says_yes(said: str, thing: str) -> bool | None:
    """Whether an answer says that `thing` is heard; None where it says neither."""
    text = said.lower().replace("’", "'")
    if YES.search(text):
        return True
    if NO.search(text):
        return False
    family = {name for name in (thing, *ancestors(thing)) if not by_name()[name].general} | {thing}
    found = [
        one
        for one in mentions(said)
        if not one.by_source and any(name in family or thing in above(name) for name in one.targets)
    ]
    if found:
        return not found[0].denied
    if declines(said):
        return None
    return False if mentions(said) else None


def is_there(question: Question, said: str) -> str:
    """Yes or no, rightly; partly where it then names what is not heard."""
    says = says_yes(said, question.thing)
    if says is None:
        return _declined_or(WRONG, said)
    if says != (question.thing in question.truth.heard):
        return WRONG
    false = [one for one in named_in(said, question.truth).false if question.thing not in one.targets]
    return PARTLY if false else RIGHT


def which_of(question: Question, said: str) -> str:
    """Names the true option and no other."""
    parts = [claim.stems for claim in claims(said) if not claim.denied]
    found = [one for one in mentions(said) if not one.denied and not one.by_source]
    chosen = set()
    for word, name in question.options:
        own = stems_of(word)
        if any(own <= part or part <= own for part in parts) or any(name in one.targets for one in found):
            chosen.add(name)
    true = {name for _, name in question.options if name in question.truth.heard}
    if not chosen:
        return _declined_or(WRONG, said)
    return RIGHT if chosen <= true else PARTLY if chosen & true else WRONG


def what_else(question: Question, said: str) -> str:
    """Names what no earlier answer named; where nothing is left, says so."""
    truth = question.truth
    before = [one for _, answer in question.earlier for one in mentions(answer, truth.label, truth.called)]
    left = [group for group in truth.groups() if not any(not one.denied and truth.hits(one, group) for one in before)]
    found = named_in(said, truth)
    if not left:
        if found.false:
            return WRONG
        if found.open or found.true:
            return RIGHT if NOTHING_ELSE.search(said.lower()) else PARTLY
        return RIGHT if NOTHING_ELSE.search(said.lower()) or declines(said) else WRONG
    new = [one for one in found.true if any(truth.hits(one, group) for group in left)]
    if new:
        return PARTLY if found.false else RIGHT
    if found.open and not found.false:
        return PARTLY
    return _declined_or(WRONG, said) if not NOTHING_ELSE.search(said.lower()) and not found.asserted else WRONG


TURNED = re.compile(r"\b(?:ignore|alright|all right|harmless|fine|ok)\b")
"""In a question: yes means that nothing need be done."""
ABOUT_DANGER = re.compile(r"\b(?:dangerous|emergency|trouble|bad|worried|urgent)\b")
URGENT = re.compile(
    r"\b(?:urgent(?:ly)?|emergency|dangerous|in danger|immediately|at once|right away|call for help|"
    r"serious(?:ly)?|get out|leave the)\b"
)
LOOK = re.compile(
    r"\b(?:worth|check|look|may|might|could|careful|attention|be aware|keep an eye|react|see (?:to|what|who|why|if)|"
    r"possibly|perhaps)\b"
)
CALM = re.compile(
    r"\b(?:harmless|ignored?|safe|fine|all right|alright|ordinary|everyday|normal|calm|no (?:need|danger|reason|harm)|"
    r"not (?:dangerous|urgent|need|an emergency|a danger|harmful|bad)|nothing to|needs? no|does(?: not|n't) need|"
    r"do(?: not|n't) (?:need|worry|have)|no (?:attention|action|emergency)|not at all)\b"
)


def attention(question: Question, said: str) -> str:
    """Says how much a sound matters: right where that is the table's level, partly one level off."""
    truth = max(ATTENTION.index(sound.attention) for sound in question.truth.classes)
    asked, text = question.text.lower(), said.lower().replace("’", "'")
    about_danger = ABOUT_DANGER.search(asked) is not None
    yes, no = YES.search(text) is not None, NO.search(text) is not None
    if TURNED.search(asked):
        yes, no = no, yes
    said_so = asserted_text(said)
    if URGENT.search(said_so) and not no:
        levels = {2}
    elif no:
        levels = {0, 1} if about_danger or LOOK.search(said_so) else {0}
    elif yes:
        levels = {1} if re.search(r"\b(?:worth|may|might)\b", said_so) else {1, 2}
    elif CALM.search(text):
        levels = {0}
    elif LOOK.search(said_so):
        levels = {1}
    else:
        return _declined_or(WRONG, said)
    off = min(abs(level - truth) for level in levels)
    return RIGHT if off == 0 else PARTLY if off == 1 else WRONG


def mistaken_for(question: Question, said: str) -> str:
    """Names what the table says is easily taken for it; partly another sound of its kind. What is truly heard may be
    named too."""
    truth = question.truth
    like = {other for sound in truth.classes for other in sound.mistaken_for} - set(truth.core)
    like |= {name for other in like for name in above(other) if not by_name()[name].general} - truth.heard
    found = [one for one in mentions(said, truth.label, truth.called) if not one.denied]
    others = [one for one in found if truth.verdict(one) != "true" or one.targets & like]
    if any(one.targets & like for one in others):
        return RIGHT
    kin = {sound.kind for sound in truth.classes}
    if any(by_name()[name].kind in kin for one in others for name in one.targets if not name.startswith(LABEL)):
        return PARTLY
    return _declined_or(WRONG, said) if not found else WRONG


def sight(question: Question, said: str) -> str:
    """Says what one would see: what makes the sound, or half of the words of the table's sight. Music and tones alone
    are nothing that one sees."""
    verdict = _naming(question, said, sources=True)
    words = stems_of(asserted_text(said))
    seen = [stems_of(sound.sight) for sound in question.truth.classes]
    if any(own and own <= words for own in seen):
        return RIGHT
    if verdict == RIGHT:
        hit = [by_name()[name] for one in named_in(said, question.truth).true for name in question.truth.hit(one)]
        return RIGHT if not hit or any(sound.kind not in ("music", "tone") for sound in hit) else PARTLY
    if any(own and 2 * len(own & words) >= len(own) for own in seen):
        return PARTLY if named_in(said, question.truth).false else RIGHT
    return verdict


SPEECH = re.compile(r"\b(?:speech|speaking|spoken|talk(?:s|ing)?|voices?|conversation)\b")
MUSIC = re.compile(r"\b(?:music(?:al)?|songs?|melody|tune)\b")
REST = re.compile(
    r"\b(?:something else|neither|none of|other|another|noise|environmental|effects?|rest|everything else|different|"
    r"not (?:speech|music|a voice))\b"
)


def category_of(name: str) -> set[str]:
    """What a class counts as: "speech", "music" or "else"; what is both may be called either."""
    sound = by_name()[name]
    found = {"speech"} if "Speech" in above(name) else set()
    found |= {"music"} if {"music", "instrument"} & set(sound.kinds) or "Music" in above(name) else set()
    if not found or sound.kind not in ("person", "music", "instrument"):
        found |= {"else"}
    return found | ({"speech"} if found == {"music"} and sound.kind == "person" else set())


def kind_of_sound(question: Question, said: str) -> str:
    """Says whether it is speech, music or something else."""
    accepted = set().union(*(category_of(name) for name in question.truth.core))
    text = asserted_text(said)
    told = {"speech"} if SPEECH.search(text) else set()
    told |= {"music"} if MUSIC.search(text) else set()
    if not told and REST.search(said.lower()):
        told = {"else"}
    if told:
        return RIGHT if told <= accepted else PARTLY if told & accepted else WRONG
    found = named_in(said, question.truth)
    if found.true and not found.false:
        return PARTLY
    return _declined_or(WRONG, said) if not found.asserted else WRONG


def cannot_tell(question: Question, said: str) -> str:
    """Declines; partly where it names beside that what is not heard."""
    if not declines(said):
        return WRONG
    return PARTLY if named_in(said, question.truth).false else RIGHT


GRADERS: dict[str, Callable[[Question, str], str]] = {
    "what": what,
    "source": source,
    "which_animal": _which("animal"),
    "which_vehicle": _which("vehicle"),
    "which_instrument": _which("instrument"),
    "kinds": kinds,
    "where": where,
    "in_or_out": in_or_out,
    "is_there": is_there,
    "which_of": which_of,
    "what_else": what_else,
    "attention": attention,
    "mistaken_for": mistaken_for,
    "sight": sight,
    "alt_text": alt_text,
    "title": title,
    "tags": tags,
    "kind_of_sound": kind_of_sound,
    "caption": caption,
    "cannot_tell": cannot_tell,
}
"""Kind of question → its judge."""


def grade(question: Question, said: str) -> str:
    """One of `VERDICTS`. Raises KeyError for an unknown kind."""
    return GRADERS[question.kind](question, said)
