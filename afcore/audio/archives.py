"""What is a packed folder and no sound. It has to be known before anything is decoded: FFmpeg looks for MP3, AC-3 and
the like anywhere in a file, and what lies unpacked in a tar or zip would be heard as one sound."""

import tarfile

_BEGIN = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b\x08": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"(\xb5/\xfd": "zstandard",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
}


def archive_kind(data: bytes) -> str:
    """ "tar", "zip" or the like for a file that packs others, by how it begins; '' for any other."""
    for begin, kind in _BEGIN.items():
        if data.startswith(begin):
            return kind
    try:
        tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")  # which checks a sum
    except tarfile.HeaderError:
        return ""
    return "tar"
