"""Predictions out of S3 and into it (moto's server, in this process)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from dlcluster import api
from dlcluster.errors import DataError, ExitCode
from tests.driver.test_predict import bare, rows, same, train

pytestmark = pytest.mark.filterwarnings("ignore:::(moto|boto3|botocore|werkzeug|flask|responses)")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="team")
    yield "s3://team"
    server.stop()


def test_out_of_a_bucket_and_into_it(bucket: str, tmp_path: Path) -> None:
    import boto3

    client = boto3.client("s3")
    parquet.write_table(rows(100), tmp_path / "train.parquet")
    data = {"path": str(tmp_path / "train.parquet"), "task": "classification", "params": {"target": "kind"}}
    run = train(tmp_path, model={"name": "mlp"}, data=data)
    new = rows(50, 1).drop_columns(["kind"])
    for part in range(2):
        buffer = pa.BufferOutputStream()
        parquet.write_table(new.slice(part * 25, 25), buffer)
        client.put_object(Bucket="team", Key=f"new/{part}.parquet", Body=buffer.getvalue().to_pybytes())
    where = {"data": f"{bucket}/new/*.parquet", "out": f"{bucket}/out", "storage": run.objects.uri, "local": True}
    made = api.predict(run.run_id, **where)  # type: ignore[arg-type]
    assert (made.state, made.view.reason) == ("SUCCEEDED", f"50 rows in {bucket}/out")
    keys = [each["Key"] for each in client.list_objects_v2(Bucket="team", Prefix="out/")["Contents"]]
    names = ["_SUCCESS", *(f"part-{number:06d}-{made.run_id}.parquet" for number in range(2))]
    assert keys == [f"out/{name}" for name in names]
    bodies = [client.get_object(Bucket="team", Key=f"out/{name}")["Body"].read() for name in names[1:]]
    same(pa.concat_tables([parquet.read_table(pa.BufferReader(body)) for body in bodies]), new, bare(run, new))
    with pytest.raises(DataError) as caught:
        api.predict(run.run_id, **where)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"predict.out: {bucket}/out already holds _SUCCESS and 2 more\n"
        "Nothing is overwritten: name a folder that is not there yet, or empty it first."
    )
    lost = api.predict(run.run_id, **{**where, "out": "s3://no-such-bucket/out"})  # type: ignore[arg-type]
    assert (lost.state, lost.view.exit_code) == ("FAILED", ExitCode.USAGE)
    assert str(lost.view.reason).startswith("predict.out: s3://no-such-bucket/out cannot be used: ")
