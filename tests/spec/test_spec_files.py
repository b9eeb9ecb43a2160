"""Files that are no job files, or that mean harm: refused in words, quickly."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from dlcluster.errors import JobFileError
from dlcluster.spec import load_job, parse_job

HEAD = "version: 1\nname: a\nmodel: {name: mlp}\ndata: {name: co2}\n"
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{key}: &{key} [{','.join([f'*{before}'] * 10)}]\n" for before, key in zip("abcdefg", "bcdefgh", strict=True)
)
NOT_A_MAPPING = "must be a mapping with keys such as version, name, model and data"

# (text, the fault without "j.yaml")
BROKEN = [
    ("", ": the file is empty"),
    ("# nothing but a comment\n", ": the file is empty"),
    ("---\n", ": the file is empty"),
    (HEAD + "---\n" + HEAD, ":5: a second document begins here: a job file holds one"),
    ("- a\n- b\n", f":1: {NOT_A_MAPPING}"),
    ("\nhello\n", f":2: {NOT_A_MAPPING}"),
    ("null\n", f":1: {NOT_A_MAPPING}"),
    ("9" * 6000, f":1: {NOT_A_MAPPING}"),
    (BOMB, ":5: holds more than 100,000 values, aliases written out"),
    ("[" + "1," * 100_001 + "1]", ":1: holds more than 100,000 values, aliases written out"),
    ("[" * 100_000, ":1: is nested more than 64 deep"),
    ("{a: " * 100_000, ":1: is nested more than 64 deep"),
    ("- " * 100 + "x", ":1: is nested more than 64 deep"),
    ("\n".join(" " * n + "a:" for n in range(70)), ":65: is nested more than 64 deep"),
    ("a: &a [*a]\n", ":1: *a would contain itself"),
    ("a: 1\nb: *x\n", ":2: nothing is called *x: no &x comes before it; put the value in quotes if * is part of it"),
    ("data: {path: *.csv}\n", ":1: is not valid YAML at column 15: a & or * without a name: put the text in quotes"),
    ("? [a, b]\n: c\n", ":1: a list cannot be a key: keys are plain text"),
    ("{a: 1}: c\n", ":1: a mapping cannot be a key: keys are plain text"),
    ("version: 1\nmodel:\n\tname: mlp\n", ":3: a tab where the indentation is: indent with spaces"),
    ("model:\n  name: a\n  \tparams: {}\n", ":3: a tab where the indentation is: indent with spaces"),
    (
        "version: 1\nname: a: b\n",
        ":2: is not valid YAML at column 8: a colon where none can be: is the line before it indented otherwise, "
        "or does the text need quotes?",
    ),
    (
        "model:\n  name: mlp\n params: {}\n",
        ":3: is not valid YAML at column 2: does not line up with the lines above it: check the indentation",
    ),
    (
        "version: 1\nlabels: {a: b\nname: a\n",
        ":2: is not valid YAML at column 9: a mapping in { } that is not closed, or lacks a comma",
    ),
    (
        "secrets: [A, B\nname: a\n",
        ":1: is not valid YAML at column 10: a list in [ ] that is not closed, or lacks a comma",
    ),
    ('version: 1\nname: "a\nmodel: 3\n', ":2: is not valid YAML at column 7: a quote that is never closed"),
    (
        'path: "C:\\data"\n',
        ":1: is not valid YAML at column 11: an unknown escape with \\: use single quotes if \\ is part of the text",
    ),
    ('path: "\\UFFFFFFFF"\n', ": is not valid YAML: an escape or a directive in it makes no sense"),
    ("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", ": is not valid YAML: an escape or a directive in it makes no sense"),
    ("%YAML 9.9\n---\na: 1\n", ":1: is not valid YAML at column 1: an unknown YAML version: leave out the %YAML line"),
    ("version: 1\nname\nmodel: {}\n", ":2: is not valid YAML at column 1: a key without its colon: write key: value"),
    (
        "name: @foo\n",
        ":1: is not valid YAML at column 7: a character that no value can begin with: put the text in quotes",
    ),
    ("version: 1\nname: a\0b\n", ":2: holds a NUL byte: a job file is plain text"),
    ("name: a\x07b\n", ":1: holds the control character U+0007: a job file is plain text"),
    ("#" * (2**20 + 1), ": is larger than 1 MiB: a job file is a page of settings"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fault"), BROKEN, ids=[f"{n}-{fault[:30]}" for n, (_, fault) in enumerate(BROKEN)])
def test_a_broken_file(text: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("j.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(JobFileError) as caught:
        load_job("j.yaml")
    assert str(caught.value) == "j.yaml" + fault
    assert time.monotonic() - began < 20


def test_merge_keys_are_refused_without_follow_ups() -> None:
    text = "version: 1\nname: a\nlabels: &l {name: mlp}\nmodel: {<<: *l}\ndata: {name: co2}\n"
    with pytest.raises(JobFileError) as caught:
        parse_job(text)
    assert str(caught.value) == "<job>:4: model.<<: merging with << is not supported: write the keys out"


def test_anchors_and_aliases_are_fine() -> None:
    job = parse_job(
        "version: 1\nname: &n a\ndescription: *n\nmodel: {name: mlp, params: &p {a: [1]}}\n"
        "data: {name: co2, params: *p}\n"
    )
    assert (job.description, job.data.params, job.model.params) == ("a", {"a": [1]}, {"a": [1]})


def test_a_fault_behind_an_alias_is_where_the_value_stands() -> None:
    text = "version: 1\nname: a\nmodel: {name: mlp, params: &p {a: .nan}}\ndata:\n  name: co2\n  params: *p\n"
    with pytest.raises(JobFileError) as caught:
        parse_job(text, source="j.yaml")
    assert str(caught.value).split("\n") == [
        "j.yaml:3: model.params.a: must be a finite number (got .nan)",
        "j.yaml:3: data.params.a: must be a finite number (got .nan)",
    ]


@pytest.mark.parametrize("text", [HEAD.replace("\n", "\r\n"), "\ufeff" + HEAD, "---\n" + HEAD + "...\n"])
def test_line_ends_byte_order_marks_and_document_marks_are_fine(text: str, tmp_path: Path) -> None:
    path = tmp_path / "j.yaml"
    path.write_bytes(text.encode())
    assert load_job(path) == parse_job(HEAD)


def test_numbers_are_read_as_people_write_them() -> None:
    text = HEAD.replace("{name: mlp}", "{name: mlp, params: {a: [1e-3, 1.e-3, 1E5, -.5, +7, 0x10, -0, 1.0E+2]}}")
    assert parse_job(text).model.params == {"a": [0.001, 0.001, 100000.0, -0.5, 7, 16, 0, 100.0]}


def test_what_is_not_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo.yaml")
    Path("folder").mkdir()
    Path("latin.yaml").write_bytes("version: 1\nname: Jürgen\n".encode("latin-1"))
    Path("utf16.yaml").write_bytes(HEAD.encode("utf-16"))
    Path("lstm.yaml").write_text(HEAD)
    Path("loop.yaml").symlink_to("loop.yaml")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.yaml")
    found = {}
    for name in [
        "fifo.yaml", "folder", "socket.yaml", "/dev/zero", "latin.yaml", "utf16.yaml", "lstn.yaml", "lstm",
        "other.yaml", "no/lstm.yaml", "a\0b", "a\nb", "lstm.yaml/x", "loop.yaml",
    ]:  # fmt: skip
        with pytest.raises(JobFileError) as caught:
            load_job(name)
        found[name] = str(caught.value)
    assert found == {
        "fifo.yaml": "fifo.yaml: is a pipe, not a file",
        "folder": "folder: is a folder, not a file",
        "socket.yaml": "socket.yaml: is a socket, not a file",
        "/dev/zero": "/dev/zero: is a device, not a file",
        "latin.yaml": "latin.yaml:2: is not UTF-8: save the file as UTF-8 text",
        "utf16.yaml": "utf16.yaml:1: is not UTF-8: save the file as UTF-8 text",
        "lstn.yaml": "lstn.yaml: is not there: did you mean lstm.yaml?",
        "lstm": "lstm: is not there: did you mean lstm.yaml?",
        "other.yaml": "other.yaml: is not there",
        "no/lstm.yaml": "no/lstm.yaml: is not there: nor is its folder no",
        "a\0b": '"a\\u0000b": is no file name: it holds a NUL byte',
        "a\nb": '"a\\nb": is not there',
        "lstm.yaml/x": "lstm.yaml/x: cannot be read: not a directory",
        "loop.yaml": "loop.yaml: cannot be read: too many levels of symbolic links",
    }


def test_json_is_yaml_with_its_halved_characters() -> None:
    text = HEAD + 'description: "\\ud83d\\ude00"\n'
    assert parse_job(text).description == "\U0001f600"


def test_the_time_a_file_can_take_is_bound() -> None:
    began = time.monotonic()
    for text in [HEAD + "".join(f"k{n}: {{x: 1}}\n" for n in range(20_000)), HEAD + "a: {b: 1}\n" * 10_000]:
        with pytest.raises(JobFileError) as caught:
            parse_job(text)
        assert len(caught.value.faults) == 101
    assert time.monotonic() - began < 30
