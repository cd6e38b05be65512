"""``python -m afcore bank build|list|check|helps|export``: example banks of one's own, or a large one from Debian's
packages."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from afcore.audio.channels import AUTO
from afcore.cli.shared import (
    REFUSED,
    add_retrieval,
    between,
    channel_rule,
    device_name,
    loaded,
    print_json,
    progress_line,
    say,
    stopping,
)
from afcore.errors import BadRequest, Cancelled
from afcore.safe_files import CODE_PAGES

if TYPE_CHECKING:
    from afcore.cli.shared import Commands


def add_bank(commands: Commands) -> None:
    """Adds ``bank`` to the command line."""
    parser = commands.add_parser("bank", help="make, list, check, measure or export example banks")
    actions = parser.add_subparsers(metavar="ACTION", required=True)

    build = actions.add_parser(
        "build",
        help="make a bank from a folder with a subfolder for each label, a zip of one, or a CSV",
        description="SOURCE is a folder with a subfolder for each label, a zip of one, or a CSV with the columns file, "
        "label and, where you have them, caption and source. The same command again goes on where it was stopped.",
    )
    build.add_argument("source", nargs="?", metavar="SOURCE", help="a folder, a .zip or a .csv")
    build.add_argument("--out", metavar="NAME", help="its name, or the folder of the new bank; default: SOURCE's name")
    build.add_argument("--model", default="mini", metavar="NAME", help="who listens to the sounds (default mini)")
    build.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_retrieval(build)
    build.add_argument(
        "--channels", type=channel_rule, default=AUTO, metavar="RULE", help="which is heard: auto, one, mix or a number"
    )
    build.add_argument(
        "--code-page",
        choices=list(CODE_PAGES),
        default=next(iter(CODE_PAGES)),
        help="of a zip's names that are not in UTF-8 (default: %(default)s)",
    )
    build.add_argument("--from-debian", action="store_true", help="download and decode Debian's packages (9 GB)")
    build.add_argument("--work", type=Path, help="with --from-debian: folder for packages and decoded sounds (25 GB)")
    build.add_argument("--packages", type=lambda text: text.split(","), metavar="A,B,C", help="download these alone")
    build.set_defaults(run=_build)

    actions.add_parser("list", help="say which banks there are").set_defaults(run=_list)

    check = actions.add_parser("check", help="say what is wrong with a bank, and what was left out of it")
    check.add_argument("name", metavar="NAME", help="a bank, or its folder")
    check.set_defaults(run=_check)

    helps = actions.add_parser("helps", help="say whether examples of a bank help to label sounds like its own")
    helps.add_argument("name", metavar="NAME", help="a bank, its folder, or “shipped”")
    helps.add_argument("--sounds", type=between(int, 6), default=60, metavar="N", help="how many (default 60)")
    helps.add_argument("--model", default="mini", metavar="NAME", help="whose labels (default mini)")
    helps.add_argument("--device", type=device_name, help="cpu, cuda, mps or xpu; default: a GPU if there is one")
    add_retrieval(helps)
    helps.add_argument("--json", action="store_true", help="one JSON object, in UTF-8")
    helps.set_defaults(run=_helps)

    export = actions.add_parser("export", help="write a bank as a zip that `bank build` reads")
    export.add_argument("name", metavar="NAME", help="a bank, or its folder")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.zip")
    export.set_defaults(run=_export)


def _build(options: argparse.Namespace) -> int:
    if options.from_debian:
        return _from_debian(options)
    if not options.source:
        raise BadRequest("Say what the bank is made of: a folder, a zip or a CSV.")
    from afcore.retrieval import own_banks
    from afcore.retrieval.nearest import embed_bank

    source = Path(options.source).expanduser()
    named = options.out or source.stem
    folder = Path(named) if Path(named).name != named else own_banks.home() / own_banks.check_name(named)
    show = progress_line() or (lambda stage, share: None)
    with ExitStack() as stack:
        stop = stack.enter_context(stopping())
        try:
            found = own_banks.listed(source, stack, code_page=options.code_page)
            bank = own_banks.build(found, folder, show, stop, options.channels)
            for why in bank.left_out.values():
                say(why)

            def heard(share: float) -> None:
                show("Listening to the sounds (once)", share)
                if stop.is_set():
                    raise Cancelled()

            engine = loaded(options, show)
            embed_bank(engine, bank, heard)
        except Cancelled as error:
            raise Cancelled("Stopped; the same command goes on from here.") from error
    print(f"{folder.name}: {own_banks.summary(bank)} `--bank {named}` takes examples from it.")
    return REFUSED if bank.left_out else 0


def _from_debian(options: argparse.Namespace) -> int:
    from afcore.corpus.make_bank import from_debian

    if not options.work or not options.out:
        raise BadRequest("--from-debian needs --work, a folder for packages, and --out, the folder of the new bank.")
    begun = time.perf_counter()
    bank = from_debian(options.work, Path(options.out), options.packages, progress=say)
    minutes = (time.perf_counter() - begun) / 60
    print(
        f"Ready in {minutes:.1f} minutes: {len(bank.examples())} sounds with {len(bank.labels())} labels. "
        f"`--bank {options.out}` takes examples from it; the app does where AFCORE_BANK names it."
    )
    return 0


def _list(options: argparse.Namespace) -> int:
    from afcore.retrieval import own_banks

    for name in own_banks.names():
        print(f"{name}: {own_banks.summary(own_banks.open_own(name))}")
    if not own_banks.names():
        print("There is no bank of your own yet: `bank build SOURCE` makes one.")
    return 0


def _check(options: argparse.Namespace) -> int:
    from afcore import paths
    from afcore.clap.mini import MiniClap
    from afcore.encoders.mini import MiniEncoder
    from afcore.retrieval import own_banks

    bank = own_banks.open_own(options.name)
    wrong = own_banks.check(bank, [(MiniClap.load(paths.MINI).name, MiniEncoder.load(paths.MINI).name)])
    print(own_banks.summary(bank))
    for clap, count in bank.claps().items():
        print(f"{count} of its sounds can be found by {clap}.")
    for sentence in [*wrong, *bank.left_out.values()]:
        print(sentence)
    return REFUSED if wrong or bank.left_out else 0


def _helps(options: argparse.Namespace) -> int:
    from afcore.evaluation import bank_help
    from afcore.retrieval import own_banks

    show = progress_line() or (lambda stage, share: None)
    engine = loaded(options, show)
    bank = engine.bank if options.name == "shipped" else own_banks.open_own(options.name)
    if bank is None:
        raise BadRequest("There is no shipped bank here.")
    with stopping() as stop:
        found = bank_help.measure(engine, bank, options.sounds, progress=show, stop=stop)
    if options.json:
        print_json({"bank": options.name, "model": engine.name, "retrieval": engine.clap_name, **found.to_json()})
        return 0
    print(
        f"{found.sounds} sounds, each one of {found.options} labels; examples are of other sources. Right, with 95 % "
        "intervals over sources:"
    )
    for row in found.rows:
        low, high = row.interval
        cost = f"{1000 * row.seconds:6.0f} ms, {row.words:4.0f} words" if row.words else ""
        print(f"  {row.name:<24} {100 * row.share:5.1f} % ({100 * low:.0f} to {100 * high:.0f})  {cost}".rstrip())
    print("Per label, without examples and with the best number of them:")
    for label, count, bare, best in found.per_label():
        print(f"  {label:<24} {count:3} sounds  {100 * bare:4.0f} %  {100 * best:4.0f} %")
    print(found.recommendation())
    return 0


def _export(options: argparse.Namespace) -> int:
    from afcore.retrieval import own_banks

    count = own_banks.export(own_banks.open_own(options.name), options.out.expanduser())
    print(f"{count} sounds are in {options.out}.")
    return 0
