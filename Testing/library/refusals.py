"""What is asked of every sentence by which bad input is refused."""

import pytest

from InnerEarAILib.volume import InputError


def refused(function, *arguments):
    """The sentence of an InputError; fails if it is not one sentence or two, on one line, ending in a full stop."""
    with pytest.raises(InputError) as caught:
        function(*arguments)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence.replace("n" * 256, "")) < 300
    return sentence
