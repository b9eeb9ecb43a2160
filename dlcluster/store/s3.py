"""A store on S3: one client, its settings and its errors in words."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from dlcluster.errors import ObjectNotFound, StoreError, UsageError
from dlcluster.store.keys import check_key
from dlcluster.store.objects import ObjectInfo, Objects

if TYPE_CHECKING:
    import boto3
    import pyarrow.fs
    from mypy_boto3_s3 import S3Client

_Answer = TypeVar("_Answer")
_CONFLICTS = 10
_DELETE_AT_ONCE = 1000
_CONNECT_SECONDS, _READ_SECONDS, _ATTEMPTS = 5, 60, 5


@dataclass(frozen=True)
class Connection:
    """The settings that boto3 and pyarrow must agree on."""

    endpoint: str | None
    region: str

    @classmethod
    def from_environment(cls, session: boto3.Session) -> Connection:
        """Read ``AWS_ENDPOINT_URL_S3``, else ``AWS_ENDPOINT_URL``, and the session's region."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None
        return cls(endpoint, session.region_name or "us-east-1")

    def client(self, session: boto3.Session) -> S3Client:
        """Build the client that writes; other endpoints than Amazon's are addressed by path."""
        from botocore.config import Config

        return session.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                s3={"addressing_style": "path"} if self.endpoint else {},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                max_pool_connections=32,
            ),
        )

    def filesystem(self, session: boto3.Session) -> pyarrow.fs.S3FileSystem:
        """Build what pyarrow reads with, from the same settings and credentials."""
        from pyarrow.fs import S3FileSystem

        found = session.get_credentials()
        if found is None:
            raise StoreError("no credentials for S3", hint=_NO_CREDENTIALS)
        keys = found.get_frozen_credentials()
        endpoint = urlsplit(self.endpoint) if self.endpoint else None
        return S3FileSystem(
            access_key=keys.access_key,
            secret_key=keys.secret_key,
            session_token=keys.token,
            region=self.region,
            connect_timeout=_CONNECT_SECONDS,
            request_timeout=_READ_SECONDS,
            **({"endpoint_override": endpoint.netloc, "scheme": endpoint.scheme} if endpoint else {}),
        )


_NO_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, on this machine"
_DENIED = (
    "the keys need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it"
    " (without the last, a missing object looks denied)"
)
_CODES = {
    "NoSuchBucket": (
        "there is no such bucket",
        "check the name, the endpoint and the region, or create the bucket",
    ),
    "AccessDenied": ("access denied", _DENIED),
    "403": ("access denied", _DENIED),
    "AllAccessDisabled": ("access denied", _DENIED),
    "InvalidAccessKeyId": ("the access key is not known there", _NO_CREDENTIALS),
    "SignatureDoesNotMatch": ("the secret key does not fit the access key", _NO_CREDENTIALS),
    "ExpiredToken": ("the credentials have expired", "log in again"),
    "InvalidToken": ("the session token is not valid", "log in again"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong", "set the clock (NTP)"),
    "PermanentRedirect": ("the bucket is in another region", "set AWS_REGION to the bucket's"),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", "set AWS_REGION to the bucket's"),
    "301": ("the bucket is in another region", "set AWS_REGION to the bucket's"),
    "InvalidBucketName": ("that is no name for a bucket", "check the address"),
    "QuotaExceeded": ("its quota is used up", "dlcluster store clean"),
    "NotImplemented": (
        "it cannot create an object only if it is absent (If-None-Match), so two drivers could collide",
        "use a folder, AWS S3 or Ceph",
    ),
}


@lru_cache(maxsize=1)
def _loader() -> Any:
    """What reads botocore's own files: a fifth of a second each time if it is not shared."""
    from botocore.loaders import create_loader

    return create_loader()


def _botocore_session() -> Any:
    from botocore.session import Session

    session = Session()
    session.register_component("data_loader", _loader())
    return session


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(error: Any) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return "NotImplemented" if _status(error) == 501 else code


class S3Objects(Objects):
    """Objects of a bucket below a prefix."""

    is_local = False
    large = 1 << 30  # one request carries this much; more goes in parts

    def __init__(self, uri: str) -> None:
        import boto3

        match = re.fullmatch(r"s3://([^/?#\s]+)((?:/[^?#]*)?)", uri)
        if match is None or "@" in match[1] or ":" in match[1]:
            raise UsageError(
                "that is no S3 address" if "@" in uri else f"{uri} is no S3 address",
                hint="s3://bucket/prefix; keys and endpoints go into the environment",
            )
        prefix = "/".join(step for step in match[2].split("/") if step)
        if prefix:
            check_key(prefix)
        self.uri = f"s3://{match[1]}" + (f"/{prefix}" if prefix else "")
        self._bucket = match[1]
        self._base = f"{prefix}/v1/" if prefix else "v1/"
        self._writer = token_hex(8)
        self._count = itertools.count(1)
        self._session: boto3.Session
        self._client: S3Client
        self._try("", lambda: self._connect(boto3))
        self.requests = 0

    def _connect(self, boto: Any) -> None:
        self._session = boto.Session(botocore_session=_botocore_session())
        self._connection = Connection.from_environment(self._session)
        self._client = self._connection.client(self._session)

    def _try(self, key: str, call: Callable[[], _Answer]) -> _Answer:
        """Make a request; what goes wrong becomes an error that says what to check."""
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        self.requests += 1
        try:
            return call()
        except ClientError as error:
            if _status(error) == 404 and _code(error) != "NoSuchBucket":
                raise ObjectNotFound(f"{self.uri}/v1/{key} is not there") from None
            words, hint = _CODES.get(_code(error), (None, None))
            if words is None:
                words = f"{_code(error) or 'error'} ({_status(error)})"
            raise StoreError(f"the store {self.uri}: {words}", hint=hint) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreError(f"the store {self.uri}: no credentials for S3", hint=_NO_CREDENTIALS) from error
        except (BotoCoreError, ValueError, OSError) as error:
            where = f" at {self._connection.endpoint}" if getattr(self, "_connection", None) else ""
            raise StoreError(
                f"the store {self.uri} does not answer{where}: {type(error).__name__}",
                hint="check the network, AWS_ENDPOINT_URL_S3, AWS_REGION and AWS_PROFILE",
            ) from error

    def _get(self, key: str) -> tuple[bytes, float]:
        check_key(key)

        def call() -> tuple[bytes, float]:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._base + key)
            data = answer["Body"].read()
            date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
            now = parsedate_to_datetime(date) if date else datetime.now(UTC)
            return data, max(0.0, (now - answer["LastModified"]).total_seconds())

        return self._try(key, call)

    def get(self, key: str) -> bytes:
        """See ``Objects.get``."""
        return self._get(key)[0]

    def get_with_age(self, key: str) -> tuple[bytes, float]:
        """Age is the answer's Date less the object's Last-Modified, both the server's; see ``Objects``."""
        return self._get(key)

    def put(self, key: str, data: bytes) -> None:
        """See ``Objects.put``."""
        name = self._base + check_key(key)
        if len(data) > self.large:  # boto3 aborts the upload where a part fails
            self._try(key, lambda: self._client.upload_fileobj(io.BytesIO(data), self._bucket, name))
        else:
            self._try(key, lambda: self._client.put_object(Bucket=self._bucket, Key=name, Body=data))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """See ``Objects.put_if_absent``.

        A request may be repeated (by botocore, by a proxy) after it took effect; its repetition is then
        refused. So each call signs its object, and a refused one looks whose object is there.
        """
        from botocore.exceptions import ClientError

        name = self._base + check_key(key)
        mark = {"writer": f"{self._writer}-{next(self._count)}", "sha256": hashlib.sha256(data).hexdigest()}

        def call() -> bool | None:
            try:
                self._client.put_object(Bucket=self._bucket, Key=name, Body=data, IfNoneMatch="*", Metadata=mark)
            except ClientError as error:
                if _status(error) == 412 or _code(error) == "PreconditionFailed":
                    return False
                if _status(error) == 409:  # another conditional write of this key is under way
                    return None
                raise
            return True

        for conflict in range(_CONFLICTS):
            put = self._try(key, call)
            if put:
                return True
            if put is False:
                found = self._metadata(key)
                if found is not None:
                    return found == mark
            time.sleep(min(2.0, 0.05 * 2**conflict))
        raise StoreError(f"the store {self.uri} could not decide who writes {key}", hint="try again")

    def _metadata(self, key: str) -> dict[str, str] | None:
        try:
            answer = self._try(key, lambda: self._client.head_object(Bucket=self._bucket, Key=self._base + key))
        except ObjectNotFound:  # deleted since
            return None
        return {name: answer["Metadata"].get(name, "") for name in ("writer", "sha256")}

    def _pages(self, prefix: str, start_after: str, delimiter: str) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            more = token or ({"StartAfter": self._base + start_after} if start_after else {})
            arguments: Any = {"Bucket": self._bucket, "Prefix": self._base + prefix, **more}
            if delimiter:
                arguments["Delimiter"] = delimiter
            page = self._try(prefix, partial(self._client.list_objects_v2, **arguments))
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[ObjectInfo]:
        """See ``Objects.list``."""
        for page in self._pages(prefix, start_after, ""):
            for found in page.get("Contents", ()):
                key = found["Key"][len(self._base) :]
                if key > start_after and not key.endswith("/"):  # some tools leave folder markers
                    yield ObjectInfo(key, found["Size"], found["LastModified"])

    def list_folders(self, prefix: str, *, start_after: str = "") -> Iterator[str]:
        """See ``Objects.list_folders``."""
        folder = prefix[: prefix.rfind("/") + 1]
        for page in self._pages(prefix, folder + start_after if start_after else "", "/"):
            for found in page.get("CommonPrefixes", ()):
                name = found["Prefix"][len(self._base) + len(folder) : -1]
                if name > start_after:
                    yield name

    def delete(self, keys: Iterable[str]) -> None:
        """See ``Objects.delete``."""
        todo = [check_key(key) for key in keys]
        for start in range(0, len(todo), _DELETE_AT_ONCE):
            batch: Any = {
                "Objects": [{"Key": self._base + key} for key in todo[start : start + _DELETE_AT_ONCE]],
                "Quiet": True,
            }
            answer = self._try("", partial(self._client.delete_objects, Bucket=self._bucket, Delete=batch))
            failed = [error for error in answer.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
            if failed:
                words, hint = _CODES.get(failed[0].get("Code", ""), (failed[0].get("Code", "error"), None))
                raise StoreError(
                    f"the store {self.uri}: {len(failed)} objects could not be deleted: {words}", hint=hint
                )

    def filesystem(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """See ``Objects.filesystem``; new each time, since credentials may expire."""
        return self._connection.filesystem(self._session), f"{self._bucket}/{self._base}"

    def locate(self, key: str) -> str:
        """See ``Objects.locate``."""
        return f"{self.uri}/v1/{check_key(key)}"
