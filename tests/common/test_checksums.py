"""Checksums of a folder: every damaged or missing file is named in one line."""

import json
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dim.common.checksums import CHECKSUMS, changing, unverified, verify_checksums, write_checksums
from dim.errors import DIMError


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "model"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(16)))
    (folder / "deep" / "er" / "more.json").write_text('{"a": 1}')
    (folder / "empty").write_bytes(b"")
    (folder / "README.md").write_text("# A model")
    (folder / ".hidden").write_text("x")
    write_checksums(folder)
    return folder


def test_an_unchanged_folder_passes(folder):
    assert list(json.loads((folder / CHECKSUMS).read_text())["files"]) == ["deep/er/more.json", "empty", "weights.bin"]
    verify_checksums(folder)


def test_a_folder_without_checksums_passes(tmp_path):
    verify_checksums(tmp_path)


@pytest.mark.parametrize("name", ["weights.bin", "deep/er/more.json"])
def test_every_flipped_bit_and_every_truncation_is_found(folder, name):
    path = folder / name
    content = path.read_bytes()
    for bit in range(8 * len(content)):
        path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
        with pytest.raises(DIMError, match=f"{name} was damaged or changed"):
            verify_checksums(folder)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DIMError, match=f"{name} was damaged or changed"):
            verify_checksums(folder)


def test_a_missing_file_is_found_unless_a_part_is_enough(folder):
    (folder / "weights.bin").unlink()
    with pytest.raises(DIMError, match="weights.bin is missing"):
        verify_checksums(folder)
    verify_checksums(folder, complete=False)


def test_cards_may_be_edited_and_files_added(folder):
    (folder / "README.md").write_text("# Mine")
    (folder / "notes.txt").write_text("mine")
    verify_checksums(folder)


def test_no_bit_of_the_checksums_themselves_gives_a_traceback(folder):
    path = folder / CHECKSUMS
    content = path.read_bytes()
    for bit in range(0, 8 * len(content), 5):
        path.write_bytes(content[: bit // 8] + bytes([content[bit // 8] ^ 1 << bit % 8]) + content[bit // 8 + 1 :])
        with suppress(DIMError):
            verify_checksums(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"files": 3, "algorithm": "sha256"}', '{"files": {}}'])
def test_checksums_that_are_damaged_are_told(folder, content):
    (folder / CHECKSUMS).write_text(content)
    with pytest.raises(DIMError, match=CHECKSUMS):
        verify_checksums(folder)


def test_checksums_never_lead_out_of_the_folder(folder):
    (folder / CHECKSUMS).write_text(json.dumps({"algorithm": "sha256", "files": {"../other": "0", "/etc/passwd": "0"}}))
    with pytest.raises(DIMError, match="is damaged"):
        verify_checksums(folder)


def test_verification_can_be_left_out(folder):
    (folder / "weights.bin").write_bytes(b"")
    with unverified():
        verify_checksums(folder)
    with pytest.raises(DIMError):
        verify_checksums(folder)


def test_one_file_is_replaced_with_its_checksum(folder):
    with changing(folder, "deep/scale.json"):
        verify_checksums(folder)
        (folder / "deep" / "scale.json").write_text("1.5")
        verify_checksums(folder)
    (folder / "deep" / "scale.json").write_text("1.7")
    with pytest.raises(DIMError, match="scale.json was damaged"):
        verify_checksums(folder)


def test_a_failure_between_file_and_checksum_leaves_a_folder_that_passes(folder):
    def stopped() -> None:
        with changing(folder, "weights.bin"):
            (folder / "weights.bin").write_bytes(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    verify_checksums(folder)


def test_a_folder_without_checksums_gets_none_by_a_change(tmp_path):
    with changing(tmp_path, "a.json"):
        (tmp_path / "a.json").write_text("1")
    assert not (tmp_path / CHECKSUMS).exists()


def test_a_hundred_megabytes_take_less_than_a_second(tmp_path):
    (tmp_path / "weights.bin").write_bytes(bytes(100_000_000))
    write_checksums(tmp_path)
    began = time.process_time()
    verify_checksums(tmp_path)
    assert time.process_time() - began < 1
