"""What a visitor is offered first are sounds that everybody knows, long enough to be heard."""

from media import chirps, encode

from afcore.paths import SHIPPED_BANK
from afcore.retrieval.bank import Bank
from afcore.retrieval.everyday import EVERYDAY, everyday_examples


def test_each_of_the_shipped_ones_lasts_2_to_10_s():
    shown = everyday_examples(Bank(SHIPPED_BANK), len(EVERYDAY))
    assert [example.label for example in shown] == list(EVERYDAY)
    assert all(2 <= example.seconds < 10.5 for example in shown)


def test_the_first_that_is_long_enough_is_taken_and_a_label_without_one_gives_its_first(tmp_path):
    kinds = {"rain": (0.5, 2.5, 4.0, 5.0), "siren": (0.5, 2.5, 12.0), "odd": (0.5, 1.0)}
    for kind, (label, lengths) in enumerate(kinds.items()):
        (tmp_path / label).mkdir()
        for number, seconds in enumerate(lengths):
            (tmp_path / label / f"{label} {number}.wav").write_bytes(
                encode(chirps(seconds, 8_000, 10 * kind + number), 8_000)
            )
    shown = everyday_examples(Bank.from_folder(tmp_path), 3)
    assert [(example.label, round(example.seconds, 1)) for example in shown] == [
        ("rain", 4.0),
        ("siren", 2.5),
        ("odd", 0.5),
    ]
