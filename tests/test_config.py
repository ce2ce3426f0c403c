"""Every kind of mistake in a params file ends in one readable block: where, given, allowed, what to do."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from tlpipe.config import ConfigError, Spec, load, members, parse, read, suggest


class Conv(Spec):
    """A member of a union."""

    kind: Literal["conv"]
    width: Annotated[int, Field(ge=4, le=1_000_000)] = 32
    """Channels of the first stage."""
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resize: Literal["shorter", "squash"] = "shorter"
    flip: bool = False
    names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = ("a",)
    factors: list[float] | float = 1.0
    folder: Path = Path("data")
    splits: dict[Literal["train", "test"], str] | None = None


class Attention(Spec):
    """Another."""

    kind: Literal["attention"]
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def _ordered(self) -> "Attention":
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be above high ({self.high})")
        return self


Network = Annotated[Conv | Attention, Field(discriminator="kind")]


class Root(Spec):
    """A file."""

    network: Network
    more: dict[Annotated[str, Field(pattern=r"^\w+$")], Network] = {}  # noqa: RUF012
    single: Attention | None = None


def message(data: Any, kind: Any = Root, where: str = "", path: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(data, kind, where, path)
    return str(caught.value)


def conv(**fields: Any) -> dict[str, Any]:
    return {"network": {"kind": "conv", **fields}}


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    (conv(widht=3), ["network.widht: unknown key 'widht'", "given:   3", "kind, width, lr", "did you mean 'width'?"]),
    (conv(zzzzzz=3), ["unknown key 'zzzzzz'", "allowed: kind, width", "do:      remove it"]),
    ({**conv(), "netwrk": 1}, ["netwrk: unknown key", "allowed: network, more, single", "did you mean 'network'?"]),
    (conv(LR=1.0), ["did you mean 'lr'?"]),
    (conv(rl=1.0), ["did you mean 'lr'?"]),
    (conv(width=3), ["network.width: cannot be used", "given:   3\n", "a whole number from 4 to 1_000_000"]),
    (conv(width=3), ["meaning: Channels of the first stage."]),
    (conv(width=True), ["given:   true\n", "a whole number from 4"]),
    (conv(width=32.0), ["given:   32.0\n", "write 32"]),
    (conv(width=32.5), ["given:   32.5\n", "a whole number"]),
    (conv(width="64"), ["given:   '64' (text)", "without quotes: 64"]),
    (conv(width=None), ["given:   null (nothing)"]),
    (conv(lr="1e-3"), ["given:   '1e-3' (text)", "a number above 0, or auto, or null", "without quotes: 0.001"]),
    (conv(lr="aut"), ["network.lr: cannot be used", "did you mean 'auto'?"]),
    (conv(lr=-1), ["given:   -1\n", "a number above 0"]),
    (conv(lr=float("nan")), ["given:   NaN\n", "a number above 0"]),
    (conv(resize="shortest"), ["given:   'shortest' (text)", "shorter or squash", "did you mean 'shorter'?"]),
    (conv(resize="crop"), ["given:   'crop' (text)", "shorter or squash"]),
    (conv(mean=[1, 2]), ["network.mean: cannot be used", "given:   [1, 2] (a list of 2)", "a list of 3 numbers"]),
    (conv(mean=[1, 2, 3, 4]), ["network.mean: cannot", "(a list of 4)", "a list of 3 numbers"]),
    (conv(mean=[1, "x", 3]), ["network.mean.1: cannot", "given:   'x' (text)", "a number"]),
    (conv(mean=0.5), ["given:   0.5\n", "a list of 3 numbers", "put it into a list"]),
    (conv(flip="yes"), ["given:   'yes' (text)", "true or false", "write true"]),
    (conv(flip=1), ["given:   1\n", "true or false"]),
    (conv(names=[]), ["(a list of 0)", "a list of texts (at least 1)"]),
    (conv(names=[""]), ["network.names.0: cannot", "non-empty text"]),
    (conv(factors=[1, "b"]), ["network.factors.1: cannot", "given:   'b' (text)", "a number"]),
    (conv(factors={}), ["network.factors: cannot", "a list of numbers, or a number"]),
    (conv(folder=3), ["network.folder: cannot", "a path"]),
    (conv(splits={"trian": "x"}), ["network.splits.trian: unknown key", "train, test", "did you mean 'train'?"]),
    ({}, ["network: is missing", "a mapping with kind: attention or conv", "add network: ..."]),
    ({"network": {}}, ["network: has no kind", "add kind: attention or conv"]),
    ({"network": {"kind": "convv"}}, ["network: unknown kind 'convv'", "attention, conv", "did you mean 'conv'?"]),
    ({"network": 3}, ["network: cannot be used", "given:   3\n", "a mapping with kind: attention or conv"]),
    ({"network": {"kind": "attention", "low": 2}}, ["network: low (2) must not be above high (1)"]),
    ({**conv(), "single": {"kind": "attention", "hgih": 2}}, ["single.hgih: unknown key", "did you mean 'high'?"]),
    ({**conv(), "more": {"x": {"kind": "cnv"}}}, ["more.x: unknown kind 'cnv'", "did you mean 'conv'?"]),
    ({**conv(), "more": {"x": {"kind": "conv", "width": 1}}}, ["more.x.width: cannot be used"]),
    ({**conv(), "more": {"a b": {"kind": "conv"}}}, ["more.a b: 'a b' is not a name that can be used", r"^\w+$"]),
]


@pytest.mark.parametrize(("data", "expected"), WRONG, ids=[str(each[1][:1]) for each in WRONG])
def test_a_mistake_says_what_was_given_what_is_allowed_and_what_to_do(data: dict[str, Any], expected: list[str]):
    text = message(data)
    assert [part for part in expected if part not in text + "\n"] == [], text
    for jargon in ("pydantic", "http", "literal[", "constrained", "Input", "tagged", ".conv.", ".attention.", "loc"):
        assert jargon not in text


def test_every_problem_is_told_at_once_and_each_once():
    text = message({**conv(width=1, lr="x", resize="y", extra=1), "more": {"q": {"kind": "z"}}})
    assert [line.split(":")[0] for line in text.splitlines() if not line.startswith(" ")] == [
        "network.width",
        "network.lr",
        "network.resize",
        "network.extra",
        "more.q",
    ]


def test_the_line_in_the_file_is_named(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("# a comment\nnetwork:\n  kind: conv\n\n  width: 1\n  mean: [1, x, 2]\n  bad: 1\n")
    with pytest.raises(ConfigError) as caught:
        load("network", Network, path)
    assert "network.width (line 5):" in str(caught.value)
    assert "network.mean.1 (line 6):" in str(caught.value)
    assert "network.bad (line 7):" in str(caught.value)


def test_a_value_that_is_long_is_cut():
    assert max(map(len, message(conv(resize="x" * 1000)).splitlines())) < 110


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ["line 3", "'a' appears twice", "keep one"]),
        ("a:\n  b: 1\n  b: 2\n", ["line 3", "'b' appears twice"]),
        ("a:\n\tb: 1\n", ["line 2", "not valid YAML", "spaces, not with tabs"]),
        ("a: [1\nb: 2\n", ["line 2, column 2", "not valid YAML", "    b: 2"]),
        ("a: b: c\n", ["line 1, column 5", "mapping values are not allowed here"]),
        ("a: 1\n---\nb: 2\n", ["line 2", "another document"]),
        ("a: !thing 1\n", ["line 1", "!thing"]),
        ("a: 2024-13-45\n", ["not valid YAML"]),
        ("a: \x07\n", ["not valid YAML", "special characters"]),
        ("", ["must hold a mapping of sections, got nothing"]),
        ("- a\n", ["must hold a mapping of sections, got", "a list of 1"]),
        ("just text\n", ["must hold a mapping of sections, got 'just text'"]),
    ],
)
def test_what_is_not_a_params_file_is_refused_with_its_place(tmp_path: Path, text: str, expected: list[str]):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert [part for part in [str(path), *expected] if part not in str(caught.value)] == [], str(caught.value)


def test_files_that_cannot_be_read_are_refused(tmp_path: Path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    for name, part in [("absent.yaml", "does not exist"), ("latin.yaml", "utf-8"), (".", "cannot be read")]:
        with pytest.raises(ConfigError, match=part):
            read(tmp_path / name)


def test_numbers_and_words_are_those_of_yaml_1_2(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("a: 1e-3\nb: 1.5E+2\nc: no\nd: 010\ne: 0x1F\nf: on\ng: ~\nh: 1:30\ni: 1_000\n")
    read_back = read(path)
    assert read_back == {
        "a": 1e-3,
        "b": 150.0,
        "c": "no",
        "d": 10,
        "e": 31,
        "f": "on",
        "g": None,
        "h": "1:30",
        "i": 1000,
    }


@pytest.mark.parametrize("data", [{("a", "b"): 1}, {"a": {("c",): 1}}])
def test_keys_that_are_lists_are_refused(data: dict[Any, Any]):
    assert "mappings, lists, text and numbers" in message(data)


def test_a_mapping_that_holds_itself_is_refused(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("network: &x\n  kind: *x\n")
    with pytest.raises(ConfigError, match="stands inside of what it is an alias for"):
        read(path)


def test_a_section_is_found_by_its_dotted_name(tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text("more:\n  one: {kind: conv, width: 8}\n")
    assert load("more.one", Network, path) == Conv(kind="conv", width=8)
    with pytest.raises(ConfigError, match=r"no section 'more.on'; did you mean 'one'\? allowed: one"):
        load("more.on", Network, path)
    with pytest.raises(ConfigError, match=r"no section 'more.one.kind.x'"):
        load("more.one.kind.x", Network, path)


def test_members_of_a_union_and_of_a_union_of_one():
    assert members(Network) == (Conv, Attention)
    assert members(Conv) == (Conv,)


def test_suggest_names_the_nearest_and_all():
    assert suggest("adamv", ["sgd", "adamw"]) == "; did you mean 'adamw'? allowed: sgd, adamw"
    assert suggest("xyz", ["sgd"]) == "; allowed: sgd"
    assert suggest("xyz", []) == ""


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(ANYTHING)
def test_whatever_is_given_is_either_read_or_refused_readably(value: Any):
    for kind in (Network, Root):
        for data in (value, {"network": value}, conv(lr=value, mean=value, factors=value)):
            try:
                parse(data, kind, "here")
            except ConfigError as error:
                assert str(error).startswith("here")  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [" + "[" * 400 + "]" * 401, "line 1, column 23: not valid YAML: nested more than 20 levels deep"),
        ("- " * 400 + "1", "nested more than 20 levels"),
        ("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 10}]\n" for n in range(1, 9)),
         "more than 20,000 values, with all aliases written out"),
        ("a: &x [*x]", "stands inside of what it is an alias for"),
        ("a: !!bool maybe", "line 1, column 4: not valid YAML: the tag !!bool is not read here"),
        ("a: !!float", "the tag !!float is not read here"),
        ("a: !!python/object/apply:os.system [ls]", "the tag !!python/object/apply:os.system is not read"),
        ("a: !mine 1", "the tag !mine is not read"),
        ("a: *nothing", "undefined alias"),
        ("a: " + "9" * 5000, "5000 digits"),
        ("\0", "unacceptable character"),
        ("? ? ? ? a", "not valid YAML"),
        ("[2026-01-01]", "must hold a mapping"),
        ("%YAML 9.9\n---\na: 1", "incompatible YAML document"),
    ],
)  # fmt: skip
def test_hostile_yaml_is_refused_with_its_line(tmp_path: Path, text: str, said: str):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read(tmp_path / "p.yaml")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_aliases_and_merges_are_read(tmp_path: Path):
    (tmp_path / "p.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert read(tmp_path / "p.yaml") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_what_is_no_file_or_no_utf_8_is_refused(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large").write_bytes(b"#" * (2**20 + 1))
    (tmp_path / "latin").write_bytes(b"a: \xe9")
    for name, said in (("pipe", "named pipe"), ("zero", "a device"), ("large", "1,048,576"), ("latin", "not utf-8")):
        with pytest.raises(ConfigError, match=said):
            read(tmp_path / name)


def test_a_message_is_bounded_and_shows_no_controls():
    message = str(ConfigError(f"a{'x' * 70_000}\x1b[2Jb\ud83d\n" + "line\n" * 1000))
    assert len(message) < 3000
    assert "\x1b" not in message
    assert "\\x1b[2Jb\\ud83d" in message
    assert message.endswith("more lines")
