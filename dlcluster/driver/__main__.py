"""``python -m dlcluster.driver RUN_URI N [SECRETS]``: the process on the cluster that owns claim N on a run."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

import ray

from dlcluster.driver.check import check_components
from dlcluster.driver.claim import Claim, Stop, flush_seconds
from dlcluster.driver.output import masked
from dlcluster.driver.train import run_claim
from dlcluster.errors import DlclusterError, ExitCode, StoreError
from dlcluster.spec import PredictJob, TrainJob, job_from_kept
from dlcluster.store.fence import read_fence
from dlcluster.store.objects import open_objects
from dlcluster.store.schema import Row
from dlcluster.store.sender import Sender
from dlcluster.store.writer import Ack, Progress, RunWriter


class ActorWriter:
    """The run's writer, in an actor on this node that outlives a busy driver.

    Args:
        store: URI of the store.
        run_id: The run.
        fence: The claim.
        env: Environment variables for the store's credentials.
    """

    def __init__(self, store: str, run_id: str, fence: int, env: dict[str, str]) -> None:
        here = ray.get_runtime_context().get_node_id()
        self.handle: Any = (
            ray.remote(_WriterActor)
            .options(
                num_cpus=0,
                max_concurrency=16,
                max_restarts=-1,
                max_task_retries=-1,
                label_selector={"ray.io/node-id": here},
            )
            .remote(store, run_id, fence, env)
        )

    def push(self, sender: str, first_seq: int, rows: list[Row], flush: bool) -> Ack:
        """Takes rows."""
        return ray.get(self.handle.push.remote(sender, first_seq, rows, flush))  # type: ignore[no-any-return]

    def set_control(self, control: dict[str, Any]) -> None:
        """Says something to all senders."""
        ray.get(self.handle.set_control.remote(control))

    def progress(self) -> Progress:
        """What has come in so far; asked for while the actor starts, it is waited for a moment only."""
        return ray.get(self.handle.progress.remote(), timeout=2)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Flushes."""
        ray.get(self.handle.close.remote())


class _WriterActor:
    """`RunWriter` as an actor; its own threads flush."""

    def __init__(self, store: str, run_id: str, fence: int, env: dict[str, str]) -> None:
        os.environ.update(env)
        objects = open_objects(store)
        self._writer = RunWriter(objects, run_id, fence, flush_seconds=flush_seconds(objects))

    def push(self, sender: str, first_seq: int, rows: list[Row], flush: bool) -> Ack:
        return self._writer.push(sender, first_seq, rows, flush=flush)

    def set_control(self, control: dict[str, Any]) -> None:
        self._writer.set_control(control)

    def progress(self) -> Progress:
        return self._writer.progress()

    def close(self) -> None:
        self._writer.close()


def _take_secrets(key: str | None) -> dict[str, dict[str, str]]:
    """Reads and deletes what the client left for this driver alone: the job's secrets and the store's keys."""
    if key is None:
        return {"secrets": {}, "store": {}}
    from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get

    data = _internal_kv_get(key)
    _internal_kv_del(key)
    if data is None:
        raise DlclusterError("the secrets of this run are gone from the cluster", hint="Submit it again.")
    taken: dict[str, dict[str, str]] = json.loads(data)
    return taken


def main(run_uri: str, number: str, secrets_key: str | None = None) -> ExitCode:
    """Runs a claim.

    Args:
        run_uri: ``<store>/v1/runs/<run_id>``.
        number: The claim's number.
        secrets_key: Where in the cluster's package store the secrets lie, if there are any.
    """
    store, _, run_id = run_uri.partition("/v1/runs/")
    ray.init(log_to_driver=True, logging_level=logging.ERROR)
    taken = _take_secrets(secrets_key)
    os.environ.update(taken["store"])
    objects = open_objects(store)
    fence = read_fence(objects, run_id, int(number))
    job = job_from_kept(fence.job)
    secrets = taken["secrets"]
    # Both start now, while this process goes on reading and checking.
    runner: Any = None if isinstance(job, PredictJob) else _runner(job)
    writer = ActorWriter(store, run_id, fence.n, taken["store"])
    call = {
        "store": store,
        "env": {**taken["store"], **job.env},
        "secrets": secrets,
        "writer": writer.handle,
    }
    if runner is not None:
        runner.call = call
    sender = Sender(writer.push, "driver")

    def log(text: str) -> None:
        with contextlib.suppress(StoreError):  # after the last row, the dashboard alone has it
            sender.log("driver", masked(text, secrets.values()))

    def say(line: str) -> None:
        line = masked(line, secrets.values())
        print(line, flush=True)  # Ray shows it in its dashboard
        log(line)

    def on_claim(claim: Claim) -> None:
        def terminate(signal_number: int, frame: FrameType | None) -> None:
            del signal_number, frame
            claim.end_from_signal(Stop("stopped through Ray"))

        signal.signal(signal.SIGTERM, terminate)

    os.environ.update(job.env)
    if isinstance(job, PredictJob):
        from dlcluster.driver.predict import run_prediction
        from dlcluster.driver.predict_ray import RayRunner

        return run_prediction(
            objects,
            fence,
            job,
            writer=writer,
            sender=sender,
            runner=RayRunner(job.resources, call["env"], secrets, lambda line: sender.log("worker", line)),
            say=say,
            log=log,
            on_claim=on_claim,
        )
    return run_claim(
        objects,
        fence,
        job,
        writer=writer,
        sender=sender,
        runner=runner,
        check=lambda: check_components(job),
        say=say,
        log=log,
        on_claim=on_claim,
    )


def _runner(job: TrainJob) -> Any:
    if job.resources.num_workers > 1:
        from dlcluster.driver.distributed import TrainRunner

        return TrainRunner(job.resources)
    from dlcluster.driver.actor import ActorRunner

    return ActorRunner(job.resources)


if __name__ == "__main__":
    try:
        code = main(*sys.argv[1:4])
    except DlclusterError as error:
        sys.stderr.write(f"{error}\n")
        code = error.exit_code
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: a worker group that did not stop in time may hold a thread of this process for ever.
    os._exit(int(code))
