"""Files behind a path are found and read: folders, globs, addresses; what is not there is said in words."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from dlcluster.data.locate import cache_folder, download, find, find_one, fingerprint
from dlcluster.data.read import read_table
from dlcluster.errors import DataError

HERE = "(as seen from the machine that trains)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.csv", "b/c/3.csv", "a.csv", "b/notes.md", ".hidden.csv", "_SUCCESS", "b/.git/4.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"v\n{name.count('/')}\n")
    return tmp_path


def names(path: str) -> list[str]:
    return [file.relative for file in find(path)]


def test_a_folder_gives_all_its_files_but_hidden_ones(folder: Path) -> None:
    assert names(str(folder)) == ["a.csv", "b/2.csv", "b/c/3.csv", "b/notes.md"]
    assert names(f"{folder}/") == names(str(folder)) == names(f"file://{folder}")
    assert [file.shown for file in find(f"{folder}/b/")] == [
        f"{folder}/b/2.csv",
        f"{folder}/b/c/3.csv",
        f"{folder}/b/notes.md",
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.csv", ["a.csv"]),
        ("b/*.csv", ["2.csv"]),
        ("*/*.csv", ["b/2.csv"]),
        ("**/*.csv", ["a.csv", "b/2.csv", "b/c/3.csv"]),
        ("b/**", ["2.csv", "c/3.csv", "notes.md"]),
        ("b/[12].csv", ["2.csv"]),
        ("?.csv", ["a.csv"]),
    ],
)
def test_a_glob_gives_what_matches(folder: Path, pattern: str, found: list[str]) -> None:
    assert names(f"{folder}/{pattern}") == found
    assert [file.read() for file in find(f"{folder}/{pattern}")] == [
        (Path(file.shown)).read_bytes() for file in find(f"{folder}/{pattern}")
    ]


def test_a_relative_path_and_one_from_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    for path in ("b/2.csv", "~/b/2.csv", f"file://{folder}/b/2.csv"):
        (file,) = find(path)
        assert (file.relative, file.shown, file.size, file.read()) == ("2.csv", path, 4, b"v\n1\n")
    assert [file.shown for file in find("*.csv")] == ["./a.csv"]
    assert [file.shown for file in find("~/b/*.csv")] == ["~/b/2.csv"]


def test_a_file_whose_name_looks_like_a_glob_or_an_address(tmp_path: Path) -> None:
    for name in ("data[1].csv", "50% off.csv"):
        (tmp_path / name).write_text("v\n1\n")
        assert names(f"{tmp_path}/{name}") == [name]
    assert names((tmp_path / "50% off.csv").as_uri()) == ["50% off.csv"]


def test_what_is_not_there_is_said_with_what_is_near(folder: Path) -> None:
    (folder / "empty").mkdir()
    for path, message in (
        (f"{folder}/c.csv", "no such file; did you mean a.csv? (there is: .hidden.csv, _SUCCESS, a.csv, b, empty)"),
        (f"{folder}/none/c.csv", f"no such file {HERE}"),
        (f"{folder}/*.parquet", f"no file matches {HERE}"),
        (f"{folder}/none/*.csv", f"no file matches {HERE}"),
        (f"{folder}/empty", f"no file is in this folder {HERE}"),
    ):
        with pytest.raises(DataError) as caught:
            find(path)
        assert str(caught.value) == f"data.path: {path}: {message}"
    for i in range(30):
        (folder / f"empty/{i:03d}.csv").touch()
    for name, message in (("000.csvx", "did you mean 000.csv?"), ("x", "no such file among the 30 there")):
        with pytest.raises(DataError) as caught:
            find(f"{folder}/empty/{name}")
        assert message in str(caught.value)
        assert "015.csv" not in str(caught.value)


def test_one_file_is_asked_for(folder: Path) -> None:
    assert find_one(f"{folder}/a.csv").name == "a.csv"
    with pytest.raises(DataError) as caught:
        find_one(str(folder))
    assert str(caught.value) == f"data.path: {folder}: 4 files are there; name one"


def test_a_fingerprint_is_of_names_and_bytes(folder: Path) -> None:
    one = fingerprint([f"{folder}/a.csv"])
    assert one == "sha256:" + hashlib.sha256(b"v\n0\n").hexdigest()
    several = fingerprint([str(folder)])
    assert several.startswith("sha256-of-4:")
    (folder / ".hidden.csv").write_text("of no interest")
    assert fingerprint([str(folder)]) == several
    (folder / "b/2.csv").write_text("v\n2\n")
    assert fingerprint([str(folder)]) != several
    (folder / "b/2.csv").write_text("v\n1\n")
    assert fingerprint([str(folder)]) == several
    (folder / "b/2.csv").rename(folder / "b/3.csv")
    assert fingerprint([str(folder)]) != several


def test_hashing_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "large.csv").open("wb") as stream:
        stream.truncate(200 * 2**20)
    script = (
        "import resource, sys; from dlcluster.data.locate import find, fingerprint; find(sys.argv[1]);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; print(fingerprint([sys.argv[1]]));"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "large.csv")], capture_output=True, text=True, check=True
    )
    printed, mebibytes = ran.stdout.splitlines()
    assert printed.startswith("sha256:")
    assert int(mebibytes) < 50


def test_tables_of_a_folder_are_read_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,x\n2,y\n")
    pyarrow.parquet.write_table(pa.table({"a": [2.5], "b": ["z"]}), tmp_path / "2.parquet")
    (tmp_path / "3.csv.gz").write_bytes(gzip.compress(b"a,b\n,w\n"))
    assert read_table(str(tmp_path)).to_pydict() == {"a": [1.0, 2.0, 2.5, None], "b": ["x", "y", "z", "w"]}


def test_a_csv_with_a_mark_or_one_column_or_no_header(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for text, header, wanted in (
        ("\ufeffa,b\n1,2\n", True, {"a": [1], "b": [2]}),
        ("v\n1\n\n3\n", True, {"v": [1, None, 3]}),
        ('"one, column"\n1\n\n', True, {"one, column": [1, None]}),
        ("1,x\n2,y\n", False, {"column_1": [1, 2], "column_2": ["x", "y"]}),
        ("a,b\n1,2\n\n3,4\n", True, {"a": [1, 3], "b": [2, 4]}),
    ):
        path.write_text(text)
        assert read_table(str(path), header=header).to_pydict() == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a,b\n1,x\n2,caf\xe9\n",
            "column 'b' at row 2 is not valid UTF-8 (b'caf\\xe9')\nSave the file as UTF-8.",
        ),
        (
            b"caf\xe9,b\n1,x\n",
            "the line with the columns' names is not valid UTF-8 (b'caf\\xe9')\nSave the file as UTF-8.",
        ),
        (
            "a,b\n1,2\n".encode("utf-16"),
            "the file is not valid UTF-8 (b'\\xff\\xfea\\x00,\\x00b\\x00\\n\\x001\\x00,\\x002\\x00\\n\\x00')\n"
            "Save the file as UTF-8.",
        ),
        (b"a,b\n1,2\n3,4,5\n", "cannot be read as csv: CSV parse error: Row #3: Expected 2 columns, got 3: 3,4,5"),
    ],
)
def test_a_csv_that_is_none_is_refused_in_words(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(str(path))
    assert str(caught.value) == f"data.path: {path}: {message}"


def test_files_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,1\n")
    (tmp_path / "2.csv").write_text("a,b\n1.5,x\n")
    with pytest.raises(DataError) as caught:
        read_table(str(tmp_path))
    assert str(caught.value) == (
        f"data.path: column 'b' holds int64 in {tmp_path}/1.csv, but string in {tmp_path}/2.csv"
    )
    (tmp_path / "2.csv").write_text("a,c\n1,1\n")
    with pytest.raises(DataError) as caught:
        read_table(str(tmp_path))
    assert str(caught.value) == (
        f"data.path: {tmp_path}/2.csv has the columns a, c, but {tmp_path}/1.csv has a, b\n"
        "Files read as one need the same columns; a pattern picks some: data.path: folder/*.csv"
    )
    (tmp_path / "2.csv").unlink()
    (tmp_path / "notes.md").write_text("not a table")
    with pytest.raises(DataError) as caught:
        read_table(str(tmp_path))
    assert str(caught.value) == (
        f"data.path: {tmp_path}/notes.md: cannot tell what this file is by its name\n"
        "Name it .csv or .parquet, or say data.format."
    )


def test_a_parquet_file_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("not at all")
    with pytest.raises(DataError) as caught:
        read_table(str(path))
    assert str(caught.value) == (
        f"data.path: {path}: cannot be read as parquet: Parquet magic bytes not found in footer. Either the file is "
        "corrupted or this is not a parquet file."
    )


@dataclass
class Site:
    """A web server: its address, what it has, and how often it was asked."""

    url: str
    pages: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("DLCLUSTER_HOME", str(tmp_path / "home"))
    made = Site("")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            content = made.pages.get(self.path.partition("?")[0])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def test_an_address_is_fetched_once(site: Site) -> None:
    site.pages["/data/t.csv"] = b"a\n1\n2\n"
    path = f"{site.url}/data/t.csv"
    first = read_table(path)
    again = read_table(path)
    assert first.to_pydict() == again.to_pydict() == {"a": [1, 2]}
    (file,) = find(path)
    assert (file.relative, file.shown, file.size) == ("t.csv", path, 6)
    assert fingerprint([path]) == "sha256:" + hashlib.sha256(b"a\n1\n2\n").hexdigest()
    assert site.asked == ["/data/t.csv"]
    assert read_table(f"{path}?key=x").num_rows == 2  # another address, another file
    assert site.asked == ["/data/t.csv", "/data/t.csv?key=x"]
    assert len([*cache_folder().iterdir()]) == 2


def test_a_download_must_be_what_it_should_be(site: Site) -> None:
    site.pages["/t.csv"] = b"good"
    right, wrong = hashlib.sha256(b"good").hexdigest(), "0" * 64
    with pytest.raises(DataError) as caught:
        download(f"{site.url}/t.csv", wrong)
    assert str(caught.value) == f"{site.url}/t.csv is not what it should be: its sha256 is another than {wrong}"
    assert [*cache_folder().iterdir()] == []
    assert download(f"{site.url}/t.csv", right).read_bytes() == b"good"


def test_an_address_without_an_answer_is_said_in_words(site: Site) -> None:
    hint = "Offline, give a copy of your own: data.path: /folder/with/the/files"
    with pytest.raises(DataError) as caught:
        find(f"{site.url}/none.csv")
    assert str(caught.value) == (f"{site.url}/none.csv cannot be fetched: the server answers 404 Not Found\n{hint}")
    with pytest.raises(DataError) as caught:
        find("http://127.0.0.1:9/t.csv")
    assert str(caught.value) == (
        f"http://127.0.0.1:9/t.csv cannot be fetched: no answer (no network, or no such host)\n{hint}"
    )


def test_folders_and_globs_in_object_storage(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testing-secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="lake")
        for file in find(str(folder)):
            client.upload_file(file.shown, "lake", f"data/{file.relative}")
        for path in ("s3://lake/data", "s3://lake/data/", "s3://lake/data/**"):
            assert names(path) == ["a.csv", "b/2.csv", "b/c/3.csv", "b/notes.md"]
        assert [file.shown for file in find("s3://lake/data/?.csv")] == ["s3://lake/data/a.csv"]
        assert read_table("s3://lake/data/**/*.csv").to_pydict() == {"v": [0, 1, 2]}
        assert fingerprint(["s3://lake/data/"]).startswith("sizes-of-4:")
        for path, message in (
            ("s3://lake/data/none.csv", f"no such file {HERE}"),
            ("s3://lake/data/*.parquet", f"no file matches {HERE}"),
        ):
            with pytest.raises(DataError) as caught:
                find(path)
            assert str(caught.value) == f"data.path: {path}: {message}"
    finally:
        server.stop()
