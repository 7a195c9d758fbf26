"""The folder that results go into is looked at before any work."""

import os
from pathlib import Path

import pytest

from InnerEarAILib.result_files import check_output
from InnerEarAILib.volume import InputError


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\\b"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot be named"):
        check_output(tmp_path, name)


@pytest.mark.parametrize("folder", [".", "to be made"])
def test_a_name_too_long_for_its_files_is_refused_before_any_work(tmp_path, folder):
    check_output(tmp_path / folder, "n" * 230)
    with pytest.raises(InputError, match="shorter name") as caught:
        check_output(tmp_path / folder, "n" * 235)
    assert len(str(caught.value)) < 200


def test_output_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_output(tmp_path / "out" / "deeper", "scan")


@pytest.mark.parametrize("target", ["nowhere", "out"], ids=["dangling", "loop"])
@pytest.mark.parametrize("folder", ["out", "out/deeper"])
def test_output_that_is_a_link_to_nowhere_is_refused(tmp_path, target, folder):
    (tmp_path / "out").symlink_to(tmp_path / target)
    with pytest.raises(InputError, match="leads nowhere"):
        check_output(tmp_path / folder, "scan")


@pytest.mark.parametrize("folder", ["n" * 300, f"new/{'n' * 300}/deeper", "d/" * 3000, "a\0b"])
def test_a_folder_that_cannot_be_made_is_refused_in_a_short_sentence(tmp_path, folder):
    with pytest.raises(InputError, match="cannot be made") as caught:
        check_output(tmp_path / folder, "scan")
    assert len(str(caught.value)) < 200


def test_a_link_to_a_folder_takes_results(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    check_output(tmp_path / "out" / "deeper", "scan")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that takes no files from anybody")
def test_a_folder_that_takes_no_files_is_refused_before_anything_is_computed():
    with pytest.raises(InputError, match="You may not write to /proc"):
        check_output(Path("/proc") / "results", "scan")


def test_checking_the_output_changes_nothing(tmp_path):
    check_output(tmp_path / "a" / "b", "scan")
    assert os.listdir(tmp_path) == []
