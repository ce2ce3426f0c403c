"""A raw text as the tokenizer is to get it, or a typed reason why not: the same in training and in serving."""


class UnreadableText(ValueError):  # noqa: N818 - it is raised for data, and reads as a finding
    """A text that cannot be used.

    `reason` is for programs: `empty`, `not_utf8`, `no_character` or `too_long`; the message is for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def read_text(text: str, most: int) -> str:
    """`text` without the white space around it.

    Raises:
        UnreadableText: When nothing is left, when it cannot be encoded, or has more than `most` characters.
    """
    stripped = text.strip()
    require(stripped, most)
    return stripped


def require(text: str, most: int) -> None:
    """Raises UnreadableText as `read_text` does; for texts whose characters are counted, so that none may go."""
    if not text or text.isspace():
        raise UnreadableText("empty", "the text is empty; send one that has characters other than white space")
    if len(text) > most:
        raise UnreadableText("too_long", f"the text is too long: {len(text):,} characters; at most {most:,} are taken")
    try:
        text.encode()
    except UnicodeEncodeError:
        detail = "the text has half of a surrogate pair, which is no character"
        raise UnreadableText("no_character", detail) from None


def decode_text(raw: bytes) -> str:
    """The text of UTF-8 bytes, without a byte order mark. Raises UnreadableText when they are none."""
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UnreadableText("not_utf8", f"the text is not UTF-8: {error.reason} at byte {error.start}") from None
