"""What other programs say is shown in one short line, without keys and without the prompt."""

from backlog_ops.llm.redact import shown

PROMPT = "Please refactor the billing module so that invoices are rounded half up."


def test_a_harmless_message_stays_as_it_is() -> None:
    assert shown("model 'x' not found", [PROMPT]) == "model 'x' not found"


def test_what_a_message_quotes_of_the_prompt_is_blanked() -> None:
    message = f'bad request near "{PROMPT[7:50]}" at 12'
    assert shown(message, [PROMPT]) == 'bad request near "…" at 12'


def test_a_quoted_prompt_with_other_line_breaks_is_blanked() -> None:
    assert shown("near: one two three\nfour five", ["one two three four  five six"]) == "near: …"


def test_keys_are_blanked_whatever_their_length() -> None:
    assert shown("invalid key sk-1 given", secrets=["sk-1"]) == "invalid key … given"


def test_an_empty_secret_blanks_nothing() -> None:
    assert shown("fine", secrets=["", ""]) == "fine"


def test_the_line_is_short_and_single() -> None:
    line = shown("a\nb\t" + "long " * 1000)
    assert "\n" not in line
    assert len(line) <= 240
