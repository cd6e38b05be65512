"""The window plan against the reference's formula, checked at every boundary, and the padded layout of several
audios."""

import numpy as np
import pytest
import torch

from afcore.audio.windows import MINI, PUBLISHED, WindowPlan, pad_audios

PLANS = [PUBLISHED, MINI, WindowPlan(100)]


def test_published_numbers():
    assert (PUBLISHED.window, PUBLISHED.hop) == (308_700, 77_175)
    assert (MINI.window, MINI.hop) == (224_000, 56_000)
    assert PUBLISHED.max_seconds == MINI.max_seconds == 33.25


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan.rate))
def test_count_at_the_boundaries(plan):
    w, h = plan.window, plan.hop
    assert [plan.count(t) for t in (0, 1, w - 1, w)] == [1, 1, 1, 1]
    for n in range(1, 16):  # n hops after the first window end exactly at w + n h
        assert plan.count(w + (n - 1) * h + 1) == n + 1
        assert plan.count(w + n * h) == n + 1
    assert [plan.count(w + 15 * h + extra) for extra in (-1, 0, 1, 100 * h)] == [16, 16, 16, 16]


def test_times_stop_at_the_end_of_the_sound():
    assert PUBLISHED.times(10 * 44_100) == [(0.0, 7.0), (1.75, 8.75), (3.5, 10.0)]
    assert PUBLISHED.times(441) == [(0.0, 0.01)]
    long = PUBLISHED.times(100 * 44_100)
    assert len(long) == 16 and long[-1] == (26.25, 33.25)


@pytest.mark.parametrize("length", [1, 699, 700, 701, 875, 876, 3324, 3325, 3326, 9000])
def test_cut_keeps_every_sample_and_pads_with_zeros(length):
    plan = WindowPlan(100)  # window 700 samples, hop 175
    samples = np.arange(1, length + 1, dtype=np.float32)
    windows, valid = plan.cut(samples)
    assert windows.shape == (plan.count(length), plan.window) and windows.dtype == np.float32
    assert valid.shape == (len(windows),) and valid.min() > 0
    for i, (window, n) in enumerate(zip(windows, valid, strict=True)):
        start = i * plan.hop
        assert n == min(plan.window, length - start)
        np.testing.assert_array_equal(window[:n], samples[start : start + n])
        assert not window[n:].any()
    heard = min(length, plan.max_samples)
    assert windows[-1][valid[-1] - 1] == heard, "the last sample that is heard ends the last window"


def test_cut_does_not_alias_its_windows_or_its_input():
    samples = np.ones(1000, dtype=np.float32)
    windows, _ = WindowPlan(100).cut(samples)
    windows[0] = 5
    assert samples.max() == 1 and windows[1].max() == 1


def test_cut_refuses_two_channels():
    with pytest.raises(ValueError, match="mono"):
        PUBLISHED.cut(np.zeros((2, 100)))


def test_pad_audios_places_sixteen_windows_for_each_audio():
    silence = torch.tensor([-1.0, -2.0])
    first, second = torch.ones(3, 2), 2 * torch.ones(16, 2)
    embeds, mask = pad_audios([first, second], silence, count=4)
    assert embeds.shape == (64, 2) and mask.shape == (64,) and mask.dtype == torch.bool
    assert torch.equal(embeds[:3], first) and torch.equal(embeds[16:32], second)
    assert torch.equal(embeds[3:16], silence.expand(13, 2)) and torch.equal(embeds[32:], silence.expand(32, 2))
    assert mask.nonzero().flatten().tolist() == [*range(3), *range(16, 32)]


def test_pad_audios_without_a_count_takes_as_many_as_there_are():
    embeds, mask = pad_audios([torch.ones(1, 2)], torch.zeros(2))
    assert embeds.shape == (16, 2) and mask.sum() == 1


@pytest.mark.parametrize(
    "audios, count", [([torch.ones(17, 2)], None), ([torch.ones(0, 2)], None), ([torch.ones(1, 2)] * 2, 1)]
)
def test_pad_audios_refuses_what_does_not_fit(audios, count):
    with pytest.raises(ValueError):
        pad_audios(audios, torch.zeros(2), count=count)
