"""Hashes: the same number for the same content, however it comes."""

from afcore.hashing import number_of, sha256_of, sha256_of_file, sha256_of_files

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc", FIPS 180-2


def test_text_bytes_parts_and_a_file_are_one_content(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    assert ABC == sha256_of("abc") == sha256_of(b"abc") == sha256_of("a", b"b", "c") == sha256_of_file(file)
    assert number_of("abc") == 0xBA7816BF


def test_several_files_are_told_apart_by_where_one_ends(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"ab")
    second.write_bytes(b"c")
    before = sha256_of_files([first, second])
    assert before != sha256_of_files([second, first])
    first.write_bytes(b"a")
    second.write_bytes(b"bc")
    assert sha256_of_files([first, second]) != before
