"""The model against numbers made with the published code: weights from the published layout, through
the published key map. Every case of `golden_cases.GOLDEN` runs."""

import pytest
from golden_cases import CASES, GOLDEN, check_case, load, name_of, needs_gpu


def test_there_are_cases():
    assert CASES, f"no flamingo-NAME.CASE.npz in {GOLDEN}"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_published_numbers(path):
    check_case(load(name_of(path)), path)


@needs_gpu
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_published_numbers_on_a_gpu(path):
    check_case(load(name_of(path)).to("cuda"), path)
