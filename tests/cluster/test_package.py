"""What travels with a job: build_package and unpack."""

from __future__ import annotations

import io
import os
import shutil
import socket
import stat
import zipfile
from pathlib import Path

import pytest

import dlcluster
from dlcluster.cluster import folder as folder_module
from dlcluster.cluster.package import Package, build_package, unpack
from dlcluster.errors import UsageError

OWN = {
    f"dlcluster/{path.relative_to(Path(dlcluster.__file__).parent).as_posix()}"
    for path in Path(dlcluster.__file__).parent.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
SECRET = "Left out of the job's package, because it looks like a secret (name its value under secrets:): "


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def names(package: Package) -> set[str]:
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        return set(archive.namelist())


def users(package: Package) -> list[str]:
    return sorted(names(package) - OWN)


def test_nothing_of_the_user_is_dlcluster_alone() -> None:
    package = build_package(None)
    assert names(package) == OWN
    assert (package.files, package.warnings) == (len(OWN), [])
    assert package.name == f"_ray_pkg_{package.sha256[:32]}.zip"


def test_the_folder_and_dlcluster_come_out_as_they_went_in(tmp_path: Path) -> None:
    root = make(tmp_path / "user", "train.py", "lib/net.py", "run.sh", "ünï cøde.txt")
    (root / "run.sh").chmod(0o700)
    unpack(build_package(root).data, tmp_path / "out")
    found = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert found == OWN | {"train.py", "lib/net.py", "run.sh", "ünï cøde.txt"}
    assert (tmp_path / "out/lib/net.py").read_text() == "lib/net.py"
    modes = {name: stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) for name in ("run.sh", "train.py")}
    assert modes == {"run.sh": 0o755, "train.py": 0o644}


def test_the_same_files_give_the_same_bytes_anywhere_at_any_time(tmp_path: Path) -> None:
    first = make(tmp_path / "a", "b.py", "a.py", "sub/c.py")
    second = tmp_path / "elsewhere/z"
    shutil.copytree(first, second)
    os.utime(second / "a.py", (1, 1))
    (second / "b.py").chmod(0o600)
    assert build_package(first).data == build_package(second).data
    (second / "a.py").write_text("other")
    assert build_package(first).sha256 != build_package(second).sha256


def test_tools_and_secrets_stay_behind(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        *("model.py", "data/small.csv", ".env.example", "venv/own.py", ".config/x.yaml"),
        *(".git/config", ".venv/lib/x.py", "env311/pyvenv.cfg", "env311/lib/x.py", "pkg/__pycache__/m.pyc"),
        *("node_modules/x.js", ".mypy_cache/x", ".ruff_cache/x", ".pytest_cache/x", "sub/.git"),
        *(".env", "keys/server.PEM", "keys/id_rsa", "id_ed25519", "tls.key", ".env.prod", ".ssh/config", ".netrc"),
    )
    package = build_package(root)
    assert users(package) == [".config/x.yaml", ".env.example", "data/small.csv", "model.py", "venv/own.py"]
    assert package.warnings == [f"{SECRET}.env, .env.prod, .netrc, .ssh, id_ed25519 and 3 more."]


def test_ignore_files_are_read_as_git_reads_them(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        *("keep.py", "a.log", "sub/b.log", "sub/keep.log", "out/x.bin", "sub/out/y.bin", "sub/deep/only.txt"),
        *("data/big.csv", "data/small.csv", "secret.key", "notes.md"),
    )
    (root / ".gitignore").write_text("*.log\n/out/\ndata/*\n*.key\n# a comment\n\n")
    (root / ".rayignore").write_text("!data/small.csv\nnotes.md\n")
    (root / "sub/.gitignore").write_text("!keep.log\ndeep/\n")
    package = build_package(root)
    assert users(package) == [
        *(".gitignore", ".rayignore", "data/small.csv", "keep.py", "sub/.gitignore", "sub/keep.log", "sub/out/y.bin")
    ]
    assert package.warnings == []  # an ignored key was never going to travel


def test_the_repository_around_the_folder_is_heard(tmp_path: Path) -> None:
    make(tmp_path, ".git/HEAD", "exp/a/run.py", "exp/a/model.ckpt", "exp/a/private.txt", "scratch/b/run.py")
    (tmp_path / ".gitignore").write_text("*.ckpt\n/exp/a/private.txt\n/scratch/\n")
    assert users(build_package(tmp_path / "exp/a")) == ["run.py"]
    # git ignores this folder as a whole; who submits from it means it.
    assert users(build_package(tmp_path / "scratch/b")) == ["run.py"]


def test_excluded_paths_stay_behind(tmp_path: Path) -> None:
    root = make(tmp_path, "a.py", "results/v1/store.json", "one.bin", "results2/x")
    package = build_package(root, exclude=[root / "results", root / "sub" / ".." / "one.bin"])
    assert (users(package), package.warnings) == (["a.py", "results2/x"], [])


def test_links_become_what_they_point_to_and_never_lead_out(tmp_path: Path) -> None:
    make(tmp_path, "outside/secret.txt")
    root = make(tmp_path / "user", "real/a.py", "b.py", ".env", "real/skip.log")
    (root / ".gitignore").write_text("*.log\n")
    for link, target in {
        "b_link.py": "b.py",
        "folder_link": "real",
        "real/up": "..",
        "out.txt": "../outside/secret.txt",
        "out": "../outside",
        "broken": "nowhere",
        "harmless.txt": ".env",
        "plain.txt": "real/skip.log",
        "loop": "loop",
    }.items():
        (root / link).symlink_to(target)
    package = build_package(root)
    assert users(package) == [".gitignore", "b.py", "b_link.py", "folder_link/a.py", "real/a.py"]
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.read("b_link.py") == b"b.py"
    assert package.warnings == [
        "Left out of the job's package, because it is a broken link or cannot be read: broken, loop.",
        "Left out of the job's package, because it is a link out of the folder: out, out.txt.",
        "Left out of the job's package, because it is a link to a folder around it: folder_link/up, real/up.",
        f"{SECRET}.env, harmless.txt.",
    ]


def test_what_is_no_plain_file_or_has_no_plain_name_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path, "a.py", "back\\slash.py")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"latin\xe9.txt")).write_text("x")
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("sock")
        package = build_package(root)
    assert users(package) == ["a.py"]
    assert package.warnings == [
        "Left out of the job's package, because it is no regular file: pipe, sock.",
        "Left out of the job's package, because its name is not UTF-8: 'latin\\udce9.txt'.",
        "Left out of the job's package, because of the backslash in its name: back\\slash.py.",
    ]


def test_another_dlcluster_in_the_folder_gives_way_to_the_running_one(tmp_path: Path) -> None:
    root = make(tmp_path, "a.py", "dlcluster/__init__.py", "dlcluster/old.py", "sub/dlcluster/mine.py")
    package = build_package(root)
    assert users(package) == ["a.py", "sub/dlcluster/mine.py"]
    assert package.warnings == [
        f"Left out of the job's package, in favour of the running dlcluster {dlcluster.__version__}: dlcluster/."
    ]
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        assert archive.read("dlcluster/__init__.py") == Path(dlcluster.__file__).read_bytes()


def test_submitting_from_the_repository_of_dlcluster_is_no_conflict(tmp_path: Path) -> None:
    (tmp_path / "dlcluster").symlink_to(Path(dlcluster.__file__).parent)
    package = build_package(tmp_path)
    assert (names(package), package.warnings) == (OWN, [])


def test_too_much_is_refused_with_the_biggest_files(tmp_path: Path) -> None:
    for number in range(7):
        with (tmp_path / f"part{number}.bin").open("wb") as file:
            file.truncate((20 + number) << 20)  # sparse
    with pytest.raises(UsageError) as caught:
        build_package(tmp_path)
    assert caught.value.message == (
        f"{tmp_path} holds 161.0 MiB, more than the 100.0 MiB that can travel with a job. The biggest files:\n"
        "   26.0 MiB  part6.bin\n   25.0 MiB  part5.bin\n   24.0 MiB  part4.bin\n"
        "   23.0 MiB  part3.bin\n   22.0 MiB  part2.bin"
    )
    assert ".rayignore" in (caught.value.hint or "")


def test_a_walk_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "MAX_ENTRIES", 5)
    make(tmp_path, *(f"{number}.py" for number in range(5)))
    assert len(users(build_package(tmp_path))) == 5
    make(tmp_path, "sixth.py")
    with pytest.raises(UsageError) as caught:
        build_package(tmp_path)
    assert caught.value.message == f"{tmp_path} holds more than 5 files and folders."


@pytest.mark.parametrize(("name", "what"), [("nowhere", "missing"), ("file.py", "not a folder")])
def test_a_working_dir_that_is_none(tmp_path: Path, name: str, what: str) -> None:
    make(tmp_path, "file.py")
    with pytest.raises(UsageError) as caught:
        build_package(tmp_path / name)
    assert caught.value.message == f"working_dir {str(tmp_path / name)!r} is {what}."


@pytest.mark.parametrize("name", ["../out.py", "/etc/out.py", "a/../../out.py", "a\\..\\out.py"])
def test_an_entry_that_would_escape_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("first.py", "x")
        archive.writestr(name, "x")
    with pytest.raises(UsageError, match="would leave its folder"):
        unpack(buffer.getvalue(), tmp_path / "out")
    assert list(tmp_path.rglob("*")) == []


def test_a_link_in_a_package_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UsageError, match="'link', which would leave its folder"):
        unpack(buffer.getvalue(), tmp_path / "out")


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The code package is not a zip"):
        unpack(b"PK nothing", tmp_path)
