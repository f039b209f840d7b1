"""Read the labeling interface of a project: the XML in which tags show an image and have labels."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast, get_args
from xml.etree import ElementTree

from promptseg.formats.labelstudio import RegionKind
from promptseg.server.refusals import RefusedRequest

REGION_KINDS = frozenset(get_args(RegionKind))
MAX_CHARACTERS = 1_000_000
# Declarations could define entities that grow without end, or name files; no interface needs them.
_DECLARATION = re.compile(r"<!(?!--|\[CDATA\[)")


@dataclass(frozen=True)
class Control:
    """A tag whose labels regions get.

    Attributes:
        kind: Of its regions.
        name: Its name.
        image: Name of the tag whose image it is for.
        phrases: What to ask for, by label.
        threshold: Presence below which an object counts as absent; None: the model's own.
        is_smart: Its rectangles are drawn by people to ask for something.
    """

    kind: RegionKind
    name: str
    image: str
    phrases: Mapping[str, tuple[str, ...]]
    threshold: float | None
    is_smart: bool


@dataclass(frozen=True)
class LabelingInterface:
    """The part of an interface that matters here.

    Attributes:
        fields: Field of a task's data that holds the picture, by the name of the image tag.
        controls: The tags that get regions, in order.
    """

    fields: Mapping[str, str]
    controls: tuple[Control, ...]

    @classmethod
    def read(cls, xml: str) -> "LabelingInterface":
        """Read an interface.

        Raises:
            RefusedRequest: It is malformed, or no tag can get regions (422).
        """
        tags = list(_parse(xml).iter())
        fields = {
            tag.get("name", ""): tag.get("value", "").removeprefix("$") for tag in tags if tag.tag.lower() == "image"
        }
        controls = [control for control in _read_controls(tags) if control.phrases and control.image in fields]
        # A smart rectangle asks; it gets regions only where there is nothing else that could.
        answering = [control for control in controls if not (control.is_smart and control.kind == "rectanglelabels")]
        if not controls:
            raise RefusedRequest(
                422,
                "no_matching_control",
                "the labeling interface has no BrushLabels, PolygonLabels or RectangleLabels with labels for an Image",
                "add such a tag with <Label value=...> tags in it; docs/label-studio.md has an example",
            )
        return cls(fields, tuple(answering or controls))

    def find_control(self, label: str, image: str) -> Control:
        """Find the tag that gets the regions of a label.

        Raises:
            RefusedRequest: There is none (422).
        """
        for control in self.controls:
            if control.image == image and label in control.phrases:
                return control
        raise RefusedRequest(
            422,
            "no_matching_control",
            f"no BrushLabels, PolygonLabels or RectangleLabels for {image!r:.80} has the label {label!r:.80}",
            "give the tag that is to get the regions the same labels as the tag that asks",
        )

    def find_label(self, phrase: str, image: str) -> tuple[Control, str]:
        """Find the label of a phrase: the one that is asked for by it, or the only one that the image has.

        Raises:
            RefusedRequest: There are several labels, and none is asked for by this phrase (422).
        """
        named = [(control, label) for control in self.controls if control.image == image for label in control.phrases]
        for control, label in named:
            if phrase.casefold() in {label.casefold(), *(each.casefold() for each in control.phrases[label])}:
                return control, label
        if len(named) == 1:
            return named[0]
        raise RefusedRequest(
            422,
            "no_matching_control",
            f"no label of the labeling interface stands for the phrase {phrase!r:.80}",
            'add <Label value="..." predicted_values="the phrase"/>, or leave one label only, which gets all regions',
        )


def _parse(xml: str) -> ElementTree.Element:
    if len(xml) > MAX_CHARACTERS or _DECLARATION.search(xml):
        raise RefusedRequest(
            422,
            "invalid_request",
            "the labeling interface is too long, or holds a declaration (<!...>)",
            "use tags only, such as those of docs/label-studio.md",
        )
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise RefusedRequest(
            422,
            "invalid_request",
            f"the labeling interface is no well-formed XML: {error}",
            "send the labeling interface of the project",
        ) from error


def _read_controls(tags: list[ElementTree.Element]) -> Iterator[Control]:
    for tag in tags:
        kind = tag.tag.lower()
        if kind in REGION_KINDS:
            labels = [each for each in tag.iter() if each.tag.lower() == "label" and each.get("value")]
            yield Control(
                kind=cast("RegionKind", kind),
                name=tag.get("name", ""),
                image=tag.get("toName", ""),
                phrases={each.get("alias") or each.attrib["value"]: _read_phrases(each) for each in labels},
                threshold=_read_threshold(tag),
                is_smart="true" in (tag.get("smart"), tag.get("smartOnly")),
            )


def _read_phrases(label: ElementTree.Element) -> tuple[str, ...]:
    """Give what a label is asked for by: `predicted_values`, separated by commas, or its value."""
    listed = [phrase.strip() for phrase in label.get("predicted_values", "").split(",")]
    return tuple(phrase for phrase in listed if phrase) or (label.get("value", ""),)


def _read_threshold(tag: ElementTree.Element) -> float | None:
    text = tag.get("model_score_threshold")
    if text is None:
        return None
    try:
        threshold = float(text)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise RefusedRequest(
            422,
            "invalid_request",
            f"model_score_threshold of {tag.get('name')!r:.80} is no number from 0 to 1",
            "write a presence, such as 0.4, or leave it out",
        )
    return threshold
