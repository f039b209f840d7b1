"""Load a model as a `Predictor`, or segment one image in one line."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg._value_checks import checked_probability
from promptseg.errors import PromptError, UnknownModelError
from promptseg.images import ImageSource, find_path, read_image
from promptseg.models.registry import DEFAULT_MODEL, LoadOptions, list_models, load_model
from promptseg.models.table import ModelConfig
from promptseg.ops.deferred import Deferred
from promptseg.predictor import Predictor
from promptseg.prompts import QueryLike, to_queries
from promptseg.regions import SearchRegion, Within
from promptseg.results import Segmentation
from promptseg.results.background import find_objects
from promptseg.runtime import Runtime
from promptseg.segmenter import Segmenter, ThreeWaySegmenter
from promptseg.weights import ReportProgress

if TYPE_CHECKING:
    from promptseg.sam.base import PromptableSegmenter

__all__ = ["LoadArguments", "list_models", "load", "segment"]


def load(
    model: str | Path | ModelConfig | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    offline: bool = False,
    threshold: float | None = None,
    num_threads: int | None = None,
    progress: ReportProgress | None = None,
    report_compile: Callable[[str], None] | None = None,
    **options: Any,
) -> Predictor:
    """Load a model that is ready to segment; what it needs is fetched the first time.

    Args:
        model: A name that `list_models` gives; a directory that `save_pretrained` wrote, or transformers from a
            CLIPSeg; a file of the original CLIPSeg's decoder, or of Uni-OVSeg's first stage; None: the default.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.
        engine: "torch", "openvino", "openvino-bf16" or "openvino-int8"; "auto" takes OpenVINO on a CPU, with int8
            where it has VNNI, else in bfloat16 where it has that; on a GPU PyTorch. OpenVINO compiles a model at its
            first use on a machine, for about a minute, and keeps it in the cache.
        offline: Fetch nothing.
        threshold: Presence below which an object counts as absent, in [0, 1]; nothing is unsure then. None: the
            model's own thresholds.
        num_threads: Threads of a compiled model, from 1 on; None: OMP_NUM_THREADS, or all cores. PyTorch's are set by
            `torch.set_num_threads`, for the whole process.
        progress: Told (name, bytes here, bytes in all) while weights are fetched; `weights.progress_bar` shows it.
        report_compile: Told the name of each graph before it is compiled.
        options: Of the model, such as detector="owlv2-base" and box_threshold=0.2 of "langsam".

    Raises:
        UnknownModelError: There is neither a model nor a checkpoint of that name.
        CheckpointError: The directory holds no checkpoint, or one that does not fit.
        WeightsError: Pretrained weights can't be fetched, or `offline` forbids it.
        EngineError: The device or the engine is not available here.
        PromptError: The threshold is no probability, the number of threads is not from 1 on, or the model has no such
            option.
    """
    if threshold is not None:
        threshold = checked_probability(threshold, what="threshold")
    if num_threads is not None and not (isinstance(num_threads, int) and num_threads >= 1):
        raise PromptError(f"num_threads is a whole number from 1 on, not {num_threads!r}")
    if model is None:
        model = DEFAULT_MODEL
    elif not (isinstance(model, str | Path) and str(model)) and not hasattr(model, "architecture"):
        raise UnknownModelError(f"a model is a name, the path of a checkpoint or a config, not {model!r}")
    runtime = Runtime.choose(engine, device, report_compile, max_threads=num_threads)
    loaded = load_model(model, LoadOptions(runtime, offline, progress), options)
    presence_threshold = loaded.segmenter.presence_threshold if threshold is None else threshold
    return Predictor(
        name=loaded.name,
        segmenter=loaded.segmenter,
        presence_threshold=presence_threshold,
        unsure_threshold=_find_unsure_threshold(loaded.segmenter) if threshold is None else None,
        engine=runtime.engine,
        device=runtime.device,
        fingerprint=loaded.identity,
        loaded=loaded,
        loader=LoadArguments(model, device, engine, offline, threshold, num_threads, options),
        automatic_sam=Deferred(lambda: _automatic_sam(loaded.segmenter, runtime, offline, progress)),
    )


def segment(
    image: ImageSource,
    queries: QueryLike | Iterable[QueryLike],
    *,
    model: str | Path | None = None,
    threshold: float | None = None,
    mask_threshold: float | None = None,
    within: Within | None = None,
    **load_options: Any,
) -> Segmentation:
    """Segment one image by one request, in one line. For more than one image, `load` once: loading takes most time.

    Args:
        image: A file's path, its bytes, a Pillow image, or a uint8 RGB array of shape (H, W, 3).
        queries: Phrases, prompts and queries.
        model: As `load`.
        threshold: Presence below which an object counts as absent, in [0, 1]; None: the model's own.
        mask_threshold: As `Predictor.segment`.
        within: As `Predictor.segment`.
        load_options: Further arguments of `load`.

    Raises:
        PromptsegError: As `load` and `Predictor.segment`.
    """
    find_objects(to_queries(queries))
    if mask_threshold is not None:
        checked_probability(mask_threshold, what="mask_threshold")
    image_rgb = read_image(image)
    if within is not None:
        SearchRegion.read(within, image_rgb.shape[:2])
    # so far, what is wrong with the request is said before anything is loaded
    predictor = load(model, threshold=threshold, **load_options)
    # the pixels and not the image again: an open file can be read once only
    found = predictor.segment(image_rgb, queries, mask_threshold=mask_threshold, within=within)
    return replace(found, source=find_path(image))


@dataclass(frozen=True)
class LoadArguments:
    """How a predictor was loaded: a `predictor.Loader`. Fields are the arguments of `load`."""

    model: str | Path | ModelConfig
    device: str
    engine: str
    offline: bool
    threshold: float | None
    num_threads: int | None
    options: dict[str, Any]

    def for_worker(self, num_threads: int) -> "LoadArguments":
        """Describe the same for one process of several: it fetches nothing."""
        return replace(self, offline=True, num_threads=num_threads)

    def load(self) -> Predictor:
        """Load the predictor again."""
        return load(
            self.model,
            device=self.device,
            engine=self.engine,
            offline=self.offline,
            threshold=self.threshold,
            num_threads=self.num_threads,
            **self.options,
        )


def _find_unsure_threshold(segmenter: Segmenter[Any]) -> float | None:
    return segmenter.unsure_threshold if isinstance(segmenter, ThreeWaySegmenter) else None


def _automatic_sam(
    segmenter: Segmenter[Any], runtime: Runtime, offline: bool, progress: ReportProgress | None
) -> "PromptableSegmenter":
    """Give a model's own SAM where it is one, else MobileSAM at its full size."""
    from promptseg.models.interactive.segmenter import InteractiveSegmenter
    from promptseg.models.uniovseg.segmenter import UniOvSegSegmenter

    if isinstance(segmenter, InteractiveSegmenter | UniOvSegSegmenter):
        return segmenter.sam
    from promptseg.sam.load import load_sam

    return load_sam("mobile-sam", runtime=runtime, offline=offline, progress=progress)
