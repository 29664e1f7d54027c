"""Printing to terminals and files of any encoding."""

import io
import json
import sys

import pytest

from mmret_lib.files.output import accept_all_characters, say
from mmret_lib.files.records import write_json
from mmret_lib.files.whole import write_text

TEXT = "image→text, un éléphant, слон, 象, 🦓, \udce9.jpg"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_say_never_fails(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding, "strict")
    say("R@1", TEXT, file=stream, flush=True)
    written = stream.buffer.getvalue().decode(encoding)
    assert written.startswith("R@1 image") and written.endswith(".jpg\n")
    assert ("éléphant" in written) == (encoding != "ascii")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_command_can_print_anything(encoding, monkeypatch):
    for name in ("stdout", "stderr"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding, "strict", write_through=True)
        monkeypatch.setattr(sys, name, stream)
    accept_all_characters()
    print(TEXT)
    print(TEXT, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        assert stream.buffer.getvalue().decode(encoding).startswith("image")


def test_accept_all_characters_leaves_other_streams(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # as pythonw has it
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    accept_all_characters()


def test_a_file_name_that_is_no_text_can_be_written(tmp_path):
    write_json(tmp_path / "run.json", {"root": "/photos/\udce9t\udce9", "name": "été"})
    read = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert read == {"root": "/photos/\udce9t\udce9", "name": "été"}
    write_text(tmp_path / "table.csv", "\udce9.jpg\n")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "\\udce9.jpg\n"
