"""From a YAML file to a frozen job, or to every fault in it at once."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from pydantic import BaseModel, ValidationError

from dlcluster.errors import Fault, JobFileError
from dlcluster.spec.document import BrokenError, Document, Place, from_mapping, show_key, show_text
from dlcluster.spec.faults import error_path, error_words, trap_words
from dlcluster.spec.job import Job, TrainJob, kind_of
from dlcluster.spec.keys import expected, kinds_words
from dlcluster.spec.override import apply_override
from dlcluster.spec.rules import Path, UnknownValueError, conflicts
from dlcluster.spec.yamlfile import read_yaml

Check: TypeAlias = Callable[[Mapping[str, Any]], Iterable[tuple[str, str]]]
"""Adds faults of the caller's own: gets the file's values, which may be anything, and yields
(dotted path, message) pairs."""

MAX_BYTES = 2**20
_MAX_FAULTS = 100
_LATER_KINDS = ("tune", "bench")
_Found: TypeAlias = tuple[Place, Path, Callable[[], str]]


def load_job(path: str | os.PathLike[str], *, overrides: Sequence[str] = (), checks: Sequence[Check] = ()) -> TrainJob:
    """Read the file of a job to train; see ``load_any_job``."""
    return _to_train(load_any_job(path, overrides=overrides, checks=checks), _shown(path))


def parse_job(
    text: str, *, source: str = "<job>", overrides: Sequence[str] = (), checks: Sequence[Check] = ()
) -> TrainJob:
    """Read a job to train from YAML text; see ``load_any_job``."""
    return _to_train(parse_any_job(text, source=source, overrides=overrides, checks=checks), source)


def job_from_dict(mapping: Mapping[str, Any], *, source: str = "<job>", checks: Sequence[Check] = ()) -> TrainJob:
    """A job to train from values made in Python; see ``load_any_job``."""
    return _to_train(any_job_from_dict(mapping, source=source, checks=checks), source)


def _to_train(job: Job, source: str) -> TrainJob:
    if not isinstance(job, TrainJob):
        raise JobFileError([Fault(source, "kind", f"must be train here (got {job.kind})")])
    return job


def load_any_job(path: str | os.PathLike[str], *, overrides: Sequence[str] = (), checks: Sequence[Check] = ()) -> Job:
    """Read a job file of any kind.

    Args:
        path: The YAML file; messages name it as it is given here.
        overrides: ``training.epochs=3`` and the like, each as after ``--set``.
        checks: Further checks whose faults are reported together with ours.

    Raises:
        JobFileError: With every fault of the file.
    """
    source = _shown(path)
    name = os.fsdecode(path)
    return parse_any_job(_read_file(name, source), source=source, overrides=overrides, checks=checks)


def parse_any_job(
    text: str, *, source: str = "<job>", overrides: Sequence[str] = (), checks: Sequence[Check] = ()
) -> Job:
    """Read a job from YAML text; see ``load_any_job``."""
    if len(text) > MAX_BYTES:
        raise _one_fault(source, "is larger than 1 MiB: a job file is a page of settings")
    try:
        document = read_yaml(text.removeprefix("\ufeff"), source)
    except BrokenError as error:
        where = f"{source}:{error.line}" if error.line else source
        raise _one_fault(where, error.message, error.path) from None
    return _job(document, source, overrides, checks)


def any_job_from_dict(mapping: Mapping[str, Any], *, source: str = "<job>", checks: Sequence[Check] = ()) -> Job:
    """A job from values made in Python; see ``load_any_job``."""
    try:
        document = from_mapping(mapping, source)
    except BrokenError as error:
        raise _one_fault(source, error.message, error.path) from None
    return _job(document, source, (), checks)


def _shown(path: str | os.PathLike[str]) -> str:
    name = os.fsdecode(path)
    return name if name.isprintable() else show_text(name, 200)


def _one_fault(where: str, message: str, path: Path = ()) -> JobFileError:
    return JobFileError([Fault(where, show_key(path), message)])


def _job(document: Document, source: str, overrides: Sequence[str], checks: Sequence[Check]) -> Job:
    if not isinstance(document.value, dict):
        place = document.place(())
        raise _one_fault(place.where, "must be a mapping with keys such as version, name, model and data")
    for rank, override in enumerate(overrides):
        apply_override(document, override, rank)
    later = _of_a_later_version(document)
    if later:
        raise JobFileError(_worded([*_read_problems(document), later], document, source))
    job, found = _validate(document)
    own = {path for _, path, _ in found}
    for check in checks:
        found += _checked(check, document, own)
    if found or job is None:
        raise JobFileError(_worded(found, document, source))
    return job


def _of_a_later_version(document: Document) -> _Found | None:
    """The one fault of a file that this version cannot judge, so that it is not buried under others."""
    version, kind = document.value.get("version"), document.value.get("kind")
    if type(version) is int and version != 1 and ("version",) not in document.traps:
        path, message = "version", f"this dlcluster reads version 1 only (got {version})"
    elif kind in _LATER_KINDS and ("kind",) not in document.traps:
        path, message = "kind", f"this version of dlcluster runs {kinds_words()} only (got {kind})"
    else:
        return None
    return document.place((path,)), (path,), partial(str, message)


def _read_problems(document: Document) -> list[_Found]:
    return [(place, path, partial(str, message)) for place, path, message in document.problems]


def _validate(document: Document) -> tuple[Job | None, list[_Found]]:
    root, job = kind_of(document.value), None
    errors: list[Any] = []
    try:
        job = root.model_validate(document.value)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    unknown = {error_path(error) for error in errors if error["type"] == "extra_forbidden"}
    found = _read_problems(document)
    for path, trap in document.traps.items():
        if not any(path[:size] in unknown for size in range(1, len(path) + 1)):
            found.append((document.place(path), path, partial(trap_words, trap, path, document)))
    bad = set(document.traps)
    for error in errors:
        path = error_path(error)
        bad.add(path)
        if path and not _explained(error, path, document):
            found.append((document.place(path), path, partial(error_words, error, document)))
    for path, message in conflicts(_getter(document.value, bad, root), "train" if root is TrainJob else "predict"):
        found.append((document.place(path), path, partial(str, message)))
    if job is None and not found:  # cannot be, but a fault without words would be worse
        found.append((document.place(()), (), lambda: "; ".join(str(error["msg"]) for error in errors)))
    return job, found


def _explained(error: Mapping[str, Any], path: Path, document: Document) -> bool:
    """Whether an error only follows from a value that could not be taken as it stands."""
    if error["type"] == "extra_forbidden":
        return False
    if error["type"] == "missing" and (*path[:-1], "<<") in document.traps:
        return True
    return any(path[:size] in document.traps for size in range(len(path) + 1))


def _getter(values: Mapping[str, Any], bad: set[Path], root: type[BaseModel]) -> Callable[..., Any]:
    touched = {path[:size] for path in bad for size in range(1, len(path) + 1)}

    def get(*path: str) -> Any:
        value: Any = values
        for size, part in enumerate(path, start=1):
            if path[:size] in bad:
                raise UnknownValueError
            if isinstance(value, BaseModel):
                value = getattr(value, part)
            elif part in value:
                value = value[part]
            else:
                field = expected(path[:size], root).field
                if field is None or field.is_required():
                    raise UnknownValueError
                value = field.get_default(call_default_factory=True)
            if value is None:
                return None
        if path in touched:
            raise UnknownValueError
        return value

    return get


def _checked(check: Check, document: Document, own: set[Path]) -> Iterator[_Found]:
    known = {".".join(map(str, path)): path for path in document.places}
    known.update({show_key(path): path for path in document.places})
    for dotted, message in check(document.value):
        path = known.get(dotted, tuple(dotted.split(".")))
        if not any(path[:size] in own for size in range(len(path) + 1)):
            yield document.place(path), path, partial(str, message)


def _worded(found: list[_Found], document: Document, source: str) -> list[Fault]:
    """The faults in the order of the file, each once; the first hundred of very many."""
    order = {path: rank for rank, path in enumerate(document.places)}

    def rank(each: _Found) -> tuple[int, int]:
        place, path, _ = each
        return place.line, next((order[path[:n]] for n in range(len(path), -1, -1) if path[:n] in order), 0)

    found = sorted(found, key=rank)
    shown = [Fault(place.where, show_key(path), words()) for place, path, words in found[:_MAX_FAULTS]]
    faults = list(dict.fromkeys(shown))
    if len(found) > _MAX_FAULTS:
        faults.append(Fault(source, "", f"and {len(found) - _MAX_FAULTS:,} more faults"))
    return faults


def _read_file(name: str, source: str) -> str:
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116 - a Path would rewrite what the user wrote
        if not stat.S_ISREG(mode):
            raise _one_fault(source, f"is {_file_kind(mode)}, not a file")
        # Non-blocking, as the file may have been swapped for a pipe since.
        descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _one_fault(source, _not_there(name)) from None
    except ValueError:
        raise _one_fault(source, "is no file name: it holds a NUL byte") from None
    except OSError as error:
        raise _one_fault(source, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(data) > MAX_BYTES:
        raise _one_fault(source, "is larger than 1 MiB: a job file is a page of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _one_fault(f"{source}:{line}", "is not UTF-8: save the file as UTF-8 text") from None


def _file_kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def _not_there(name: str) -> str:
    path = FilePath(name)
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for _, entry in zip(range(10_000), entries, strict=False)]
    except OSError:
        return f"is not there: nor is its folder {path.parent}"
    files = {FilePath(name).stem: name for name in sorted(names) if name.endswith((".yaml", ".yml"))}
    wanted = path.stem if path.suffix in (".yaml", ".yml") else path.name
    near = difflib.get_close_matches(wanted, files, 2, 0.7)
    shown = [str(path.parent / files[stem]) for stem in near if files[stem].isprintable()]
    return f"is not there: did you mean {' or '.join(shown)}?" if shown else "is not there"
