"""Data sets by name: those that ship with the package, and those that are downloaded."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
import torch

from dlcluster.data.catalog import DATASETS, FILES, DataEntry, Download
from dlcluster.data.load import data_fingerprint, load_data
from dlcluster.data.params import ImageParams
from dlcluster.data.pictures import read_pictures
from dlcluster.data.source import MIRROR, Source, fetch
from dlcluster.errors import DataError
from dlcluster.spec import job_from_dict
from tests.data.test_idx import MNIST, idx

PICTURES = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
CONTENT = {
    "train-images-idx3-ubyte.gz": gzip.compress(idx(PICTURES)),
    "train-labels-idx1-ubyte.gz": gzip.compress(idx(np.arange(6) % 2)),
}


class Server:
    """A web server of the files below a folder, which counts what it was asked for."""

    def __init__(self, root: Path) -> None:
        self.root, self.asked = root, list[str]()
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def entry(self, name: str = "tiny", **hashes: str) -> DataEntry:
        """A data set of the files in `CONTENT`, at this server's top."""
        parts = tuple(
            Download(f"{self.url}/{file}", hashes.get(file[:12].replace("-", "_"), hashlib.sha256(content).hexdigest()))
            for file, content in CONTENT.items()
        )
        return DataEntry(name, None, "idx", "classification", "", "", parts)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("DLCLUSTER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(MIRROR, raising=False)
    (tmp_path / "web").mkdir()
    made = Server(tmp_path / "web")
    for file, content in CONTENT.items():
        (made.root / file).write_bytes(content)
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.http.shutdown()
    thread.join()
    made.http.server_close()


def read(path: str) -> list[list[list[int]]]:
    found, _ = read_pictures(Source(path, "idx"), ImageParams(), labelled=True)
    assert found["train"].y is not None
    assert found["train"].y.tolist() == [0, 1] * 3
    return found["train"].x[:, 0].tolist()  # type: ignore[no-any-return]


def test_a_data_set_is_downloaded_once(server: Server) -> None:
    first = fetch(server.entry())
    assert read(first) == PICTURES.tolist()
    assert fetch(server.entry()) == first
    assert server.asked == ["/train-images-idx3-ubyte.gz", "/train-labels-idx1-ubyte.gz"]


def test_a_file_that_was_damaged_is_fetched_again(server: Server, tmp_path: Path) -> None:
    path = fetch(server.entry())
    kept = tmp_path / "home" / "data" / "tiny" / "train-images-idx3-ubyte.gz"
    kept.write_bytes(b"damaged")
    assert read(fetch(server.entry())) == PICTURES.tolist()
    assert read(path) == PICTURES.tolist()


def test_what_is_still_being_downloaded_is_no_part_of_it(server: Server, tmp_path: Path) -> None:
    path = fetch(server.entry())
    (tmp_path / "home" / "data" / "tiny" / "tmpab12cd").write_bytes(b"half")
    assert read(path) == PICTURES.tolist()


def test_a_mirror_is_asked_instead(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = server.entry()
    elsewhere = DataEntry(
        "tiny",
        None,
        "idx",
        "classification",
        "",
        "",
        tuple(Download(part.url.replace(server.url, "http://127.0.0.1:9"), part.sha256) for part in entry.downloads),
    )
    (server.root / "tiny").mkdir()
    for file in CONTENT:
        (server.root / file).rename(server.root / "tiny" / file)
    monkeypatch.setenv(MIRROR, server.url + "/")
    assert read(fetch(elsewhere)) == PICTURES.tolist()
    assert server.asked == ["/tiny/train-images-idx3-ubyte.gz", "/tiny/train-labels-idx1-ubyte.gz"]


HINT = (
    "\nOffline, give a copy of your own (data.path: /folder/with/the/files, data.format: idx), or set "
    f"{MIRROR} to an address that has tiny/train-images-idx3-ubyte.gz."
)


def test_a_download_that_fails_says_so_and_what_to_do(server: Server) -> None:
    wanted = "0" * 64
    url = f"{server.url}/train-images-idx3-ubyte.gz"
    with pytest.raises(DataError) as raised:
        fetch(server.entry(train_images=wanted))
    assert str(raised.value) == (
        f"data.name: tiny: {url} is not what it should be: its sha256 is another than {wanted}{HINT}"
    )
    (server.root / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(DataError) as raised:
        fetch(server.entry())
    assert str(raised.value) == (
        f"data.name: tiny: {url} cannot be fetched: the server answers 404 File not found{HINT}"
    )
    server.http.socket.close()
    refused = DataEntry(
        "tiny",
        None,
        "idx",
        "classification",
        "",
        "",
        (Download("http://127.0.0.1:9/train-images-idx3-ubyte.gz", wanted),),
    )
    with pytest.raises(DataError) as raised:
        fetch(refused)
    assert str(raised.value) == (
        "data.name: tiny: http://127.0.0.1:9/train-images-idx3-ubyte.gz cannot be fetched: no answer (no network, or "
        f"no such host){HINT}"
    )


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    job = {"version": 1, "name": "x", "model": {"name": "lstm"}, "data": {"name": "digits"}}
    prepared = load_data(job_from_dict(job).data)
    digits = load_digits()
    arrays = np.load(FILES / "digits.npz", allow_pickle=False)
    assert np.array_equal(arrays["x"], digits.images)
    assert np.array_equal(arrays["y"], digits.target)
    assert {name: len(part) for name, part in prepared.splits.items()} == {
        "train": 1258,
        "validation": 180,
        "test": 359,
    }
    x = torch.cat([part.gather(torch.arange(len(part)))[0] for part in prepared.splits.values()])
    assert sorted((x * 16).flatten(1).tolist()) == sorted(digits.data.tolist())
    assert prepared.class_names == tuple("0123456789")
    assert (FILES / "digits.npz").stat().st_size < 100_000


@pytest.mark.skipif(not MNIST.is_dir(), reason="needs a copy of MNIST in ../shared/data/mnist")
def test_the_hashes_of_mnist_are_those_of_the_files_as_published() -> None:
    hashes = {part.url.rpartition("/")[2]: part.sha256 for part in DATASETS["mnist"].downloads}
    assert set(hashes) == {path.name for path in MNIST.glob("*.gz")}
    for name in ("train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        assert hashlib.sha256((MNIST / name).read_bytes()).hexdigest() == hashes[name]


def test_the_fingerprint_of_a_download_is_of_its_bytes(server: Server, tmp_path: Path) -> None:
    path = fetch(server.entry())
    job = {
        "version": 1,
        "name": "x",
        "model": {"name": "lstm"},
        "data": {"path": path, "format": "idx", "task": "classification"},
    }
    first = data_fingerprint(job_from_dict(job).data)
    (tmp_path / "home" / "data" / "tiny" / "tmpab12cd").write_bytes(b"half")
    assert data_fingerprint(job_from_dict(job).data) == first
    assert first.startswith("sha256-of-2:")


def test_listing_the_data_sets_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from dlcluster.cli import main\n"
        "sys.argv = ['dlcluster', 'datasets', '-o', 'csv']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'numpy', 'pyarrow', 'pooch', 'PIL', 'kornia') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *rows, heavy = done.stdout.splitlines()
    assert heavy == "[]"
    assert [row.partition(",")[0] for row in rows] == ["name", *DATASETS]
