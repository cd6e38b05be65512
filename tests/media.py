"""Sound and video files made in memory by PyAV, so that decoding can be compared with the samples that went in."""

import struct
from io import BytesIO

import av
import numpy as np

AUDIO = {  # name: container, encoder, sample rate that the encoder takes
    "wav": ("wav", "pcm_s16le", 44_100),
    "flac": ("flac", "flac", 44_100),
    "ogg": ("ogg", "vorbis", 44_100),
    "opus": ("ogg", "libopus", 48_000),
    "mp3": ("mp3", "libmp3lame", 44_100),
    "m4a": ("mp4", "aac", 44_100),
    "webm": ("webm", "libopus", 48_000),
}
LOSSLESS = {"wav", "flac"}


def encode(
    samples: np.ndarray, rate: int, container: str = "wav", codec: str = "pcm_f32le", video: bool = False, **options
) -> bytes:
    """``samples`` (T,) or (channels, T) in -1 … 1 as the bytes of a file; ``video`` adds a small moving picture,
    and without samples (T = 0) a video has no sound."""
    samples = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    file = BytesIO()
    with av.open(file, "w", format=container) as out:
        streams = []
        if samples.shape[1] or not video:
            if codec == "vorbis":  # FFmpeg's own encoder: experimental, and for two channels only
                options, samples = {"strict": "experimental", **options}, np.repeat(samples, 3 - len(samples), axis=0)
            sound = out.add_stream(codec, rate=rate, options=options)
            sound.layout = {1: "mono", 2: "stereo", 8: "7.1"}[len(samples)]
            streams.append((sound, _audio_frames(samples, rate, sound)))
        if video:
            picture = out.add_stream("mpeg4" if container == "mp4" else "libvpx", rate=10)
            picture.width = picture.height = 32
            picture.pix_fmt = "yuv420p"
            streams.append((picture, _video_frames(max(1, samples.shape[1] * 10 // rate))))
        for stream, frames in streams:
            for frame in frames:
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return file.getvalue()


def _audio_frames(samples, rate, stream):
    resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate)
    block = 65_536
    for start in range(0, samples.shape[1], block):
        interleaved = samples[:, start : start + block].T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), "flt", stream.layout.name)
        frame.sample_rate, frame.pts = rate, start
        yield from resampler.resample(frame)


def _video_frames(count):
    for i in range(count):
        frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), i % 256, np.uint8), "rgb24")
        frame.pts = i
        yield frame


def chirps(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """A sound in which no two stretches are alike, so that a wrong offset of one sample shows: (T,) float32."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(size=len(t))
    smooth = np.convolve(noise, np.hanning(16) / 8, mode="same")  # below about 5 kHz, which lossy codecs keep
    return (
        (0.25 * smooth / smooth.std() * (0.5 + 0.5 * np.sin(2 * np.pi * 0.37 * t) ** 2)).clip(-1, 1).astype(np.float32)
    )


def with_edits(data: bytes, edits: list[tuple[int, int, float]]) -> bytes:
    """A MOV file with another edit list: (length in ms, begin in samples or -1, speed) each."""

    def box(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + name + content

    def anew(content: bytes) -> bytes:
        out, at = b"", 0
        while at < len(content):
            size, name = struct.unpack_from(">I4s", content, at)
            inside = content[at + 8 : at + size]
            if name in (b"moov", b"trak"):
                out += box(name, anew(inside))
            elif name != b"edts":
                out += content[at : at + size]
            if name == b"tkhd":
                rows = b"".join(struct.pack(">Iii", ms, begin, round(65_536 * speed)) for ms, begin, speed in edits)
                out += box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + rows))
            at += size
        return out

    return anew(data)
