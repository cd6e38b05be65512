"""What holds for whatever people write or record: windows, labels, prompts, names. Examples are drawn by hypothesis."""

import csv
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afcore import names, prompts
from afcore.app.labels import described_labels, joined_labels, label_lines, split_labels
from afcore.audio.windows import MINI, PUBLISHED, WindowPlan
from afcore.cli import shared
from afcore.errors import BadRequest
from afcore.prompts import MARKS
from afcore.teach import exports
from afcore.teach.schema import Label

quick = settings(
    max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
MARK = st.sampled_from(
    ["<audio>", "<AUDIO>", "<au\u200ddio>", "<|endofchunk|>", "＜SEP＞", "<|im_end|>", "</s>", "\nuser:"]
)
anything = st.lists(st.one_of(st.text(max_size=12), MARK), max_size=5).map("".join)
label = st.text(min_size=1, max_size=20).filter(lambda text: names.is_text(text) and text == text.strip() != "")
labels = st.lists(label, min_size=1, max_size=6, unique=True)


@quick
@given(st.integers(1, 3_000), st.integers(10, 60), st.integers(1, 16))
def test_windows_cover_what_is_heard_and_no_more(length, rate, most):
    plan = WindowPlan(rate, max_windows=most)
    samples = np.arange(1, length + 1, dtype=np.float32)
    windows, valid = plan.cut(samples)
    times = plan.times(length)
    assert len(windows) == len(valid) == len(times) == plan.count(length) <= most
    heard = min(length, plan.max_samples)
    seen = {int(x) for row, count in zip(windows, valid, strict=True) for x in row[:count]}
    assert seen == set(range(1, heard + 1)) and all(0 < count <= plan.window for count in valid)
    assert all(0 <= start < end <= length / rate + 1e-9 for start, end in times)


@pytest.mark.parametrize("plan", [MINI, PUBLISHED])
def test_the_plans_that_ship_hear_33_seconds(plan):
    assert plan.max_seconds == 33.25 and plan.count(plan.max_samples) == plan.count(10**9) == 16


@quick
@given(labels)
def test_labels_go_through_every_editor_and_come_back(found):
    assert split_labels(joined_labels(found)) == found
    out = io.StringIO()
    csv.writer(out).writerow(found)
    assert shared.split_labels(out.getvalue()) == found
    described = [Label(name, "a hum") for name in found]
    assert described_labels(label_lines(described)) == described


@quick
@given(anything, anything, st.lists(st.tuples(anything, anything), max_size=3), st.sampled_from(sorted(MARKS)))
def test_no_text_forges_a_sound_or_a_turn(question, answer, shots, kind):
    marks = MARKS[kind]
    try:
        prompt = prompts.chat([(question, answer)], question, shots=shots, kind=kind)
    except BadRequest as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return
    assert prompt.text.count(marks.audio) == len(prompt.audios) == len(shots) + 1
    assert prompt.text.count(marks.sep) == len(shots) + 2
    assert prompt.text.count("user: ") >= 2
    lines = prompt.text.split("\n")
    assert sum(line.lower().startswith(("user:", "assistant:")) for line in lines[1:]) == 2 + 1


@quick
@given(labels)
def test_labels_that_are_taken_stand_in_the_prompt_once_each(found):
    try:
        prompts.check_labels(found)
    except BadRequest as error:
        assert str(error).endswith(".")
        return
    text = prompts.single(prompts.CLASSIFY, prompts.EVENTS, found).text
    assert text.count("\n - ") == len(found)


@quick
@given(st.text(max_size=60))
def test_names_from_outside_are_one_line_of_text(name):
    for found in (names.normal(name), names.shown_name(name), names.shown_path(name), names.escaped(name)):
        assert names.is_text(found)
    assert names.normal(names.normal(name)) == names.normal(name)


@quick
@given(st.text(max_size=20))
def test_no_cell_is_a_formula_and_each_gives_its_text_back(text):
    cell = exports.guarded(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and cell.removeprefix("'") == text
