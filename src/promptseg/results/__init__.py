"""Results of a request: a `Segmentation` of one `QueryResult` for each query, with one `Instance` for each object.

A `Panoptic` map of one `Segment` for each pixel is in `results.panoptic`.

Results are frozen, their arrays are read-only, and they can be pickled.
"""

from promptseg.results.instance import Instance
from promptseg.results.query_result import MIN_INSTANCE_SHARE, QueryResult, Status
from promptseg.results.segmentation import Segmentation, name_origin

__all__ = ["MIN_INSTANCE_SHARE", "Instance", "QueryResult", "Segmentation", "Status", "name_origin"]
