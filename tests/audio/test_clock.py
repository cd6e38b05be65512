"""Times and lengths as text, and samples as a file for players."""

import io

import numpy as np
import pytest
import soundfile

from afcore.audio.clock import clock_text, exact_text, minutes_text
from afcore.audio.wav import wav_bytes


@pytest.mark.parametrize(
    "seconds, minutes, clock, exact",
    [
        (0.05, "0:00", "50 ms", "0.05 s"),
        (3.5, "0:03", "3.5 s", "3.5 s"),
        (7, "0:07", "7.0 s", "7 s"),
        (33.25, "0:33", "33.2 s", "33.25 s"),
        (59.99, "0:59", "60.0 s", "59.99 s"),
        (65.9, "1:05", "1:05", "1:05"),
        (3725, "1:02:05", "1:02:05", "1:02:05"),
    ],
)
def test_times_as_text(seconds, minutes, clock, exact):
    assert (minutes_text(seconds), clock_text(seconds), exact_text(seconds)) == (minutes, clock, exact)


def test_samples_become_a_wav_file_as_loud_as_they_are():
    samples = np.array([0.0, 0.5, -0.25, 1.5, -3.0], np.float32)
    read, rate = soundfile.read(io.BytesIO(wav_bytes(samples, 8000)), dtype="float32")
    assert rate == 8000
    np.testing.assert_allclose(read, [0, 0.5, -0.25, 1, -1], atol=1e-4)
