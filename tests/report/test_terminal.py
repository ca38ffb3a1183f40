import io

import pytest

from headrace.report.terminal import columns_of, display_width, fit, printable, style_for


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "choice", "environ", "enabled"),
    [
        (Terminal(), "auto", {"TERM": "xterm"}, True),
        (Terminal(), "auto", {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (Terminal(), "auto", {"TERM": "xterm", "NO_COLOR": ""}, True),
        (Terminal(), "auto", {"TERM": "dumb"}, False),
        (io.StringIO(), "auto", {"TERM": "xterm"}, False),
        (io.StringIO(), "always", {"NO_COLOR": "1"}, True),
        (Terminal(), "never", {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(stream, choice, environ, enabled):
    assert style_for(stream, choice, environ).enabled is enabled


def test_an_unknown_choice_is_refused():
    with pytest.raises(ValueError, match="got 'sometimes'"):
        style_for(io.StringIO(), "sometimes")


def test_width_is_known_for_terminals_only():
    assert columns_of(io.StringIO()) is None
    assert columns_of(Terminal()) == 80
    closed = io.StringIO()
    closed.close()
    assert columns_of(closed) is None


def test_control_and_formatting_characters_are_escaped():
    assert printable("a\tb\x1b[0m\u202e") == "a\\tb\\x1b[0m\\u202e"
    assert printable("Zürich 日本") == "Zürich 日本"


def test_cutting_counts_columns_not_characters():
    assert fit("日本語テキスト", 9) == "日本語..."
    assert display_width(fit("日本語テキスト", 8)) <= 8
    assert fit("short", 5) == "short"
    assert fit("abcdef", 3) == "abc"
