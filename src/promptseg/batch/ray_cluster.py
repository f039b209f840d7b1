"""Run a batch on a cluster by Ray Data: an actor for each core or GPU, on any node.

Files are read by the nodes: they need the same paths, and the model's weights in their cache (a shared PROMPTSEG_CACHE,
or `promptseg weights pull` on each).
"""

import json
import os
import pickle
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from promptseg._extras import require
from promptseg.batch.sources import BatchImage
from promptseg.batch.worker import BatchJob
from promptseg.errors import EngineError

# Reads and writes must not wait for a core that an actor holds: with whole cores a small cluster never starts.
_CPUS_OF_A_READ = 0.1
_SECONDS_TO_ANSWER = 10.0

T = TypeVar("T")


@dataclass(frozen=True)
class RayCluster:
    """The machines of a Ray cluster.

    Attributes:
        address: Of the cluster, such as "auto", "10.0.0.1:6379" or "ray://head:10001"; "local": starts one on this
            machine.
        num_workers: Number of actors; None: one for each core of the cluster.
    """

    address: str
    num_workers: int | None = None

    @property
    def num_threads(self) -> int:
        """Threads of each actor, which asks the cluster for one core."""
        return 1

    def run(self, job: BatchJob[T], images: Iterable[BatchImage]) -> Iterator[T]:
        """Segment images; yields the outcome of each, in the order in which they are done.

        An actor that dies, or a node, is replaced, and its images are segmented again.

        Raises:
            EngineError: The cluster does not answer.
            MissingExtraError: Ray is not installed.
        """
        # Nothing is reported to anyone, and a local cluster needs no token.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = require("ray", extra="ray")
        ray_data = require("ray.data", extra="ray")
        items = [{"image": pickle.dumps(image)} for image in images]
        if not items:
            return
        _connect(ray, self.address)
        try:
            num_workers = self.num_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
            ray_data.DataContext.get_current().enable_progress_bars = False
            dataset = ray_data.from_items(items, override_num_blocks=min(len(items), 8 * num_workers)).map(
                _Actor,
                fn_constructor_args=(job,),
                concurrency=(1, min(num_workers, len(items))),
                num_cpus=1 - _CPUS_OF_A_READ,
                num_gpus=1 if job.device.startswith("cuda") else None,
            )
            for item in dataset.iter_rows():
                yield json.loads(item["outcome"])
        finally:
            ray.shutdown()


class _Actor:
    """What an actor holds: the model, loaded once."""

    def __init__(self, job: BatchJob[Any]) -> None:
        self._worker = job.open()

    def __call__(self, item: dict[str, Any]) -> dict[str, str]:
        # One text an image: the types of columns then don't depend on what a block happens to hold.
        return {"outcome": json.dumps(self._worker(pickle.loads(item["image"])))}


def _connect(ray: Any, address: str) -> None:
    try:
        if address == "local":
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        else:
            _knock(address)
            ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(f"the Ray cluster at {address!r} does not answer: {error}") from error


def _knock(address: str) -> None:
    """Try an address that names a port: Ray itself tries for minutes.

    Raises:
        OSError: Nothing answers there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
