"""A Ray cluster of two nodes on this machine: every image once, also when a node is killed.

It needs the extra `ray`, and takes about a minute: `make test-ray`.
"""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_world import FragilePredictor, draw_images

from promptseg.batch.ray_cluster import RayCluster
from promptseg.batch.requests import ClassesRequest
from promptseg.batch.rows import RowForm
from promptseg.batch.worker import BatchJob
from promptseg.errors import EngineError

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

JOB = BatchJob(
    "fragile",
    "0123",
    pickle.dumps(FragilePredictor(seconds=0.1)),
    ClassesRequest.read("square"),
    RowForm(),
    num_threads=1,
)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head node and another one, of one core each."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1] / "worlds"), *sys.path]))
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield cluster
    cluster.shutdown()


def test_a_node_that_is_killed_loses_no_image(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    images = draw_images(tmp_path, tuple(range(20, 60)))
    outcomes = RayCluster(cluster.address).run(JOB, images)
    rows = [*next(outcomes), *next(outcomes)]
    cluster.remove_node(second, allow_graceful=False)
    rows += [row for outcome in outcomes for row in outcome]
    assert sorted(row["path"] for row in rows) == sorted(image.id for image in images)
    assert all(row["error"] is None and row["box_xyxy"] == [3, 2, 8, 6] for row in rows)


def test_a_cluster_that_does_not_answer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    images = draw_images(tmp_path, (20,))
    with pytest.raises(EngineError, match=r"the Ray cluster at '127\.0\.0\.1:1' does not answer"):
        list(RayCluster("127.0.0.1:1").run(JOB, images))
