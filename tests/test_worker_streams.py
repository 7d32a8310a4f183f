"""Streams that never fail."""

import io
import sys

import pytest

from orch.worker.streams import SteadyStream, steady_streams


class Broken(io.TextIOBase):
    encoding = "ascii"

    def write(self, text):
        raise BrokenPipeError

    def flush(self):
        raise OSError("disk full")

    def isatty(self):
        raise ValueError("closed")

    def fileno(self):
        return 17


@pytest.mark.promise("W3")
def test_what_cannot_be_written_is_dropped():
    stream = SteadyStream(Broken())
    print("hello", file=stream, flush=True)
    assert stream.write("four") == 4
    assert not stream.isatty()


@pytest.mark.promise("W3")
def test_what_the_encoding_does_not_know_is_escaped():
    raw = io.BytesIO()
    stream = SteadyStream(io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    stream.write("✓")
    assert raw.getvalue() == b"\\u2713"


def test_closing_flushes_and_leaves_it_open():
    inner = io.StringIO()
    stream = SteadyStream(inner)
    stream.close()
    stream.write("still here")
    assert inner.getvalue() == "still here"


def test_a_wrong_type_is_still_the_callers_mistake():
    with pytest.raises(TypeError):
        SteadyStream(io.StringIO()).write(7)


def test_it_looks_like_the_stream_inside():
    stream = SteadyStream(Broken())
    assert stream.writable()
    assert (stream.fileno(), stream.encoding) == (17, "ascii")
    assert SteadyStream(io.TextIOWrapper(io.BytesIO(b"x"))).buffer.read() == b"x"


def test_both_streams_of_the_process_become_steady_once(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", None)
    steady_streams()
    steady = sys.stdout
    steady_streams()
    assert isinstance(steady, SteadyStream)
    assert sys.stdout is steady
    assert sys.stderr is None
