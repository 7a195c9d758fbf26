"""Files that are whole or absent."""

import pytest

from InnerEarAILib.whole_files import replacing


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "result.nii.gz"
    path.write_text("before")
    with replacing(path) as unfinished:
        unfinished.write_text("after")
        assert unfinished.name == path.name  # writers go by the suffix
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_after_a_failure_the_file_is_as_it_was_and_nothing_lies_beside_it(tmp_path, failure):
    path = tmp_path / "result.json"
    path.write_text("before")

    def write(unfinished):
        unfinished.write_text("half")
        raise failure

    with pytest.raises(type(failure)), replacing(path) as unfinished:
        write(unfinished)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_was_written_or_nothing_can_be_it_is_an_error(tmp_path):
    with pytest.raises(OSError, match="result"), replacing(tmp_path / "result.json"):
        pass
    with pytest.raises(OSError, match="missing"), replacing(tmp_path / "missing" / "result.json"):
        pass
    assert list(tmp_path.iterdir()) == []
