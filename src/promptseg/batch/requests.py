"""What is asked about each image of a batch: classes by words, examples and points, or a map of all pixels."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from typing import Protocol, Self

from promptseg.batch.sources import BatchImage
from promptseg.language.class_list import NamedClass
from promptseg.panoptic_map import PanopticOptions, read_classes
from promptseg.predictor import Predictor
from promptseg.prompts import ExemplarPrompt, MaskPrompt, Prompt, Query, QueryLike, TextPrompt, to_queries
from promptseg.results import QueryResult, Segmentation
from promptseg.sam.overlap import suppress_instances

# Two masks of a class that overlap by more are one object; the IoU of SAM's own automatic masks.
_SAME_OBJECT_IOU = 0.7


class BatchRequest(Protocol):
    """What is asked about each image."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        ...

    def check(self, predictor: Predictor) -> None:
        """Check what can be checked without an image.

        Raises:
            PromptError: The request is malformed, or the model does not take it.
        """
        ...

    def identify(self) -> str:
        """Hash the request."""
        ...

    def describe(self) -> str:
        """Name the request for the origin of a data set; "": the labels say it all."""
        ...

    @property
    def things(self) -> Mapping[str, bool]:
        """Whether a class is counted one by one, by its label; without classes of which nothing says so."""
        ...

    def answer(self, predictor: Predictor, content: bytes, image: BatchImage) -> Segmentation:
        """Segment an encoded image; one result for each label that is asked about it, in order.

        Raises:
            PromptsegError: As `Predictor.segment`.
        """
        ...


@dataclass(frozen=True, eq=False)
class AskedClass:
    """A class, and the queries that may each find it.

    It is as present as by the best of its queries, and an object that several of them find comes once.

    Attributes:
        label: Its name.
        queries: Without any, it is asked only of images that have points and boxes of their own for it.
        is_thing: Whether it is counted one by one; None: nothing says so.
    """

    label: str
    queries: tuple[Query, ...]
    is_thing: bool | None = None

    @classmethod
    def named(cls, label: str, *synonyms: str) -> Self:
        """Describe a class by its name and other names for the same."""
        return cls(label, tuple(Query(label, (TextPrompt(name),)) for name in dict.fromkeys((label, *synonyms))))

    @property
    def is_plain(self) -> bool:
        """Whether the label itself is all that is asked."""
        return all(query.prompts == (TextPrompt(self.label),) for query in self.queries) and len(self.queries) <= 1

    def queries_of(self, image: BatchImage) -> tuple[Query, ...]:
        """Give what is asked about an image: its own points and boxes of this class choose among what words propose."""
        own = [query for query in image.pointing if query.label == self.label]
        if not own or not self.queries:
            return tuple(own) or self.queries
        return tuple(replace(query, prompts=(*query.prompts, *each.prompts)) for query in self.queries for each in own)


@dataclass(frozen=True, eq=False)
class ClassesRequest:
    """Find classes.

    Attributes:
        classes: One or more.
    """

    classes: tuple[AskedClass, ...]

    @classmethod
    def read(cls, asked: QueryLike | AskedClass | Iterable[QueryLike | AskedClass]) -> Self:
        """Read a request.

        Raises:
            PromptError: It is malformed.
        """
        listed = list(asked) if isinstance(asked, Iterable) and not isinstance(asked, str) else [asked]
        return cls(tuple(each if isinstance(each, AskedClass) else _ask(each) for each in listed))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(each.label for each in self.classes)

    @property
    def queries(self) -> tuple[Query, ...]:
        """The queries of all classes, in order."""
        return tuple(query for each in self.classes for query in each.queries)

    def check(self, predictor: Predictor) -> None:
        """Check the queries of all classes; those of single images are checked with them."""
        if self.queries or not self.classes:
            predictor.check_queries(self.queries)

    def identify(self) -> str:
        """Hash labels, phrases, weights, coordinates and pixels."""
        return identify_queries(self.queries)

    def describe(self) -> str:
        """Name the request by its hash, unless the labels are what is asked."""
        return "" if all(each.is_plain for each in self.classes) else f"request {self.identify()}"

    @property
    def things(self) -> Mapping[str, bool]:
        """Whether a class is counted one by one, by its label, where it says so."""
        return {each.label: each.is_thing for each in self.classes if each.is_thing is not None}

    def queries_of(self, image: BatchImage) -> tuple[Query, ...]:
        """Give all queries about an image; none: nothing is asked about it."""
        return tuple(query for each in self.classes for query in each.queries_of(image))

    def answer(self, predictor: Predictor, content: bytes, image: BatchImage) -> Segmentation:
        """Ask all queries at once, and merge those of each class."""
        asked = [(each.label, queries) for each in self.classes if (queries := each.queries_of(image))]
        found = predictor.segment(content, [query for _, queries in asked for query in queries])
        results = iter(found.results)
        merged = [merge_results(label, [next(results) for _ in queries]) for label, queries in asked]
        return replace(found, results=tuple(merged))


@dataclass(frozen=True, eq=False)
class MapRequest:
    """Give every pixel a class, or none; see `Predictor.panoptic`.

    Attributes:
        classes: As `language.class_list.parse_class_list` reads them.
        options: What becomes of pixels of which no class is sure, and which segments are left out.
    """

    classes: tuple[NamedClass, ...]
    options: PanopticOptions = field(default_factory=PanopticOptions)

    @classmethod
    def of_names(cls, names: Iterable[str] | None = None, *, stuff: Iterable[str] = ()) -> Self:
        """Read the classes, such as "couch, sofa" or "wall [stuff]"; None: a list of everyday names.

        Raises:
            PromptError: A name is malformed.
        """
        return cls(read_classes(names, stuff=stuff))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in order."""
        return tuple(each.label for each in self.classes)

    def check(self, predictor: Predictor) -> None:
        """Check that the model takes phrases, and that one of them is not the background."""
        predictor.check_queries([Query(label, (TextPrompt(label),)) for label in self.labels])

    def identify(self) -> str:
        """Hash classes and settings."""
        classes = [(each.label, each.synonyms, each.is_thing) for each in self.classes]
        return _hash(["panoptic", *astuple(self.options), classes])

    def describe(self) -> str:
        """Name the kind of request, and its hash."""
        return f"panoptic {self.identify()}"

    @property
    def things(self) -> Mapping[str, bool]:
        """Whether a class is counted one by one, by its label."""
        return {each.label: each.is_thing for each in self.classes}

    def answer(self, predictor: Predictor, content: bytes, image: BatchImage) -> Segmentation:
        """Make the map; its segments are the objects."""
        options = self.options
        found = predictor.panoptic(
            content,
            self.classes,
            unlabelled=options.unlabelled,
            min_score=options.min_score,
            min_area=options.min_area,
        )
        return found.to_segmentation()


def merge_results(label: str, results: Sequence[QueryResult]) -> QueryResult:
    """Merge the results of several queries of one class: the best presence, and each object once.

    What is less sure than the best one is left out: unsure objects beside a present one, say.
    """
    best = max(results, key=lambda result: result.presence)
    alike = [result for result in results if result.status == best.status]
    if len(alike) == 1 or best.status == "absent":
        return replace(best, label=label)
    instances = [instance for result in alike for instance in result.instances]
    kept = suppress_instances(instances, [each.score for each in instances], iou_threshold=_SAME_OBJECT_IOU)
    return replace(best, label=label, model_instances=tuple(instances[index] for index in kept.tolist()))


def identify_queries(queries: Iterable[Query]) -> str:
    """Hash queries: labels, phrases, weights, coordinates and pixels."""
    return _hash([query.label, [_describe(prompt) for prompt in query.prompts]] for query in queries)


def _ask(item: QueryLike) -> AskedClass:
    (query,) = to_queries(item)
    return AskedClass(query.label, (query,))


def _hash(parts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()[:16]


def _describe(prompt: Prompt) -> list[object]:
    if isinstance(prompt, ExemplarPrompt):
        pixels = hashlib.sha256(prompt.image_rgb.tobytes() + prompt.foreground.tobytes()).hexdigest()
        return [prompt.kind, list(prompt.image_rgb.shape), pixels, prompt.weight]
    if isinstance(prompt, MaskPrompt):
        return [prompt.kind, list(prompt.mask.shape), hashlib.sha256(prompt.mask.tobytes()).hexdigest()]
    return [prompt.kind, repr(prompt)]
