"""A person's command: how it may be written, what is taken from it, and what is said to one that cannot be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolloutplan.api.command import REASON_KEPT, Command, CommandError, Verb, read_command, write_command

TOKEN = st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True).filter(lambda token: token != "--reason")
WORDS = st.text() | st.text(alphabet="a \"'-=\n", max_size=12) | st.just("--reason") | st.just("x --reason y")


@given(st.builds(Command, st.sampled_from(Verb), TOKEN, WORDS))
def test_what_is_written_reads_back_the_same(command: Command) -> None:
    assert read_command(write_command(command)) == command


@pytest.mark.parametrize("verb", ["pause", "resume", "approve", "abort", "retry", "promote", "skip", "revert"])
def test_every_verb(verb: str) -> None:
    assert read_command(f"{verb} 2026-03-01a") == Command(Verb(verb), "2026-03-01a")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("pause a1", ""),
        ("  pause   a1\n", ""),
        ("\npause\na1\n\n", ""),
        ("pause\ta1\t--reason\tdisk full\n", "disk full"),
        ("pause a1 --reason disk full", "disk full"),
        ('pause a1 --reason "disk full"', "disk full"),
        ("pause a1 --reason 'disk full'", "disk full"),
        ("pause a1 --reason=disk full", "disk full"),
        ("pause a1 --reason", ""),
        ('pause a1 --reason ""', ""),
        ('pause a1 --reason "disk full', '"disk full'),
        ("pause a1 --reason the\n  disk\n  is full\n", "the disk is full"),
        ("pause a1 --reason rm --reason I can", "rm --reason I can"),
        ("pause a1 --reason \x1b[31mred\x00", "[31mred"),
        ("pause a1 --reason " + "x" * 600, "x" * REASON_KEPT),
        ("pause a1 --reason " + "x" * 511 + " y", "x" * 511),
    ],
)
def test_what_is_taken_from_it(text: str, reason: str) -> None:
    assert read_command(text) == Command(Verb.PAUSE, "a1", reason)


ONCE = 'a command is carried out once per token; write a new token, such as "2026-03-01a"'
VERBS = "pause, resume, approve, abort, retry, promote, skip, revert, adopt"
NO_TOKEN = 'is not a token: write 1 to 64 letters, digits, ".", "_", ":" or "-"'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", f'the command is empty: write "<command> <token>"; the commands are {VERBS}'),
        (" \n", f'the command is empty: write "<command> <token>"; the commands are {VERBS}'),
        ("--reason x", f'the command is empty: write "<command> <token>"; the commands are {VERBS}'),
        ("puase a1", f'"puase" is not a command: did you mean pause? The commands are {VERBS}'),
        ("Abort a1", f'"Abort" is not a command: did you mean abort? The commands are {VERBS}'),
        ("rollback a1", f'"rollback" is not a command: did you mean abort or revert? The commands are {VERBS}'),
        ("continue a1", f'"continue" is not a command: did you mean resume? The commands are {VERBS}'),
        ("deploy a1", f'"deploy" is not a command. The commands are {VERBS}'),
        ("x" * 100, f'"{"x" * 40}..." is not a command. The commands are {VERBS}'),
        ("abort", f'no token: write "abort <token>": {ONCE}'),
        ("abort --reason x", f'no token: write "abort <token>": {ONCE}'),
        ("abort a/1", f'token: "a/1" {NO_TOKEN}'),
        ("abort ä", f'token: "ä" {NO_TOKEN}'),
        ("abort " + "a" * 65, "token: too long: write at most 64 characters"),
        ("abort a1 now please", '"now please" is unexpected: only --reason and the reason may follow the token'),
        ("abort a1 -because x", '"-because x" is unexpected: only --reason and the reason may follow the token'),
    ],
)
def test_what_cannot_be_read_is_told_with_the_fix(text: str, words: str) -> None:
    with pytest.raises(CommandError) as raised:
        read_command(text)
    assert str(raised.value) == words


@pytest.mark.parametrize("token", ["", "a b", "--reason", "a\n"])
def test_a_command_without_a_token_that_can_be_written_is_none(token: str) -> None:
    with pytest.raises(CommandError):
        Command(Verb.ABORT, token)
