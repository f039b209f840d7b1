"""Many images: sources of any kind in, a table of rows or a data set out, on the cores of one machine or a cluster."""

from promptseg.batch.many_images import BatchSummary, batch
from promptseg.batch.output import read_rows
from promptseg.batch.pool import Pool
from promptseg.batch.ray_cluster import RayCluster
from promptseg.batch.requests import AskedClass, MapRequest
from promptseg.batch.sources import list_sources

__all__ = ["AskedClass", "BatchSummary", "MapRequest", "Pool", "RayCluster", "batch", "list_sources", "read_rows"]
