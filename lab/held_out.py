"""Names and images that are kept out of training, so that claims about unseen ones hold.

Names   apple (fss_dev) and every breed of cat and dog (pets_dev); a breed is trained as "cat" or "dog", an apple is not
        trained at all.
Images  those of the evaluation sets, those that look the same, and the held-out third of the images with human
        regions.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from promptseg.data.sample import Sample, Target
from promptseg.language.phrases import canonical, normalize_phrase

_APPLES = frozenset(("granny smith", "golden delicious", "red delicious", "pink lady", "royal gala"))

_CAT_BREEDS = frozenset((
    "abyssinian", "bengal", "birman", "bombay", "british shorthair", "egyptian mau", "maine coon", "persian",
    "ragdoll", "russian blue", "siamese", "sphynx", "tabby",
))  # fmt: skip

# Dogs by the last word of their breed's name, and breeds whose names have none of these words.
_DOG_FAMILIES = frozenset((
    "bloodhound", "bulldog", "bullmastiff", "collie", "coonhound", "corgi", "deerhound", "foxhound", "greyhound",
    "hound", "husky", "malamute", "mastiff", "otterhound", "pinscher", "poodle", "retriever", "schnauzer",
    "sennenhund", "setter", "sheepdog", "spaniel", "terrier", "wolfhound",
))  # fmt: skip
_DOG_BREEDS = frozenset((
    "affenpinscher", "airedale", "appenzeller", "australian kelpie", "basenji", "basset", "beagle",
    "bernese mountain", "bluetick", "borzoi", "boston bull", "bouvier des flandres", "boxer", "brabancon griffon",
    "briard", "brittany", "brussels griffon", "chihuahua", "chow chow", "clumber", "dachshund", "dalmatian",
    "dandie dinmont", "doberman", "dobermann", "english springer", "entlebucher", "german shepherd",
    "german shorthaired", "german shorthaired pointer", "great dane", "great pyrenees", "greater swiss mountain",
    "groenendael", "havanese", "japanese chin", "keeshond", "kelpie", "komondor", "kuvasz", "labrador", "leonberg",
    "leonberger", "lhasa", "lhasa apso", "malinois", "maltese", "mexican hairless",
    "mexican hairless dog (xoloitzcuintli)", "newfoundland", "norwegian elkhound", "papillon", "pekinese",
    "pekingese", "pomeranian", "pug", "pug-dog", "redbone", "rhodesian ridgeback", "rottweiler", "saint bernard",
    "saluki", "samoyed", "schipperke", "shiba inu", "shih tzu", "shih-tzu", "st. bernard",
    "staffordshire bullterrier", "vizsla", "weimaraner", "whippet",
))  # fmt: skip
_NOT_BREEDS = frozenset(("cat", "dog", "hot dog", "prairie dog", "african wild dog", "wild cat"))

_HELD_OUT_WORDS = re.compile(
    rf"\b(?:apples?|{'|'.join(map(re.escape, sorted(_APPLES | _CAT_BREEDS | _DOG_BREEDS | _DOG_FAMILIES)))})\b"
)

# Training images that show the same as an evaluation image, found by comparing 16 x 16 difference hashes of all of
# them (mirrored too) and then looking at every pair.
SAME_AS_EVALUATION: frozenset[str] = frozenset(
    f"faces_train/fasseg_conv_V2_Train_RGB_{number}.webp" for number in (1, 3, 6, 7, 15, 16, 17, 18, 19, 20)
)

HELD_OUT_REGION_SHARE = 3


@cache
def training_name(name: str) -> str | None:
    """Return the name that training may use instead of this one; `None` where it may use none.

    Example:
        >>> [training_name(name) for name in ("Golden Retriever", "Siamese cat", "red apple", "bus")]
        ['dog', 'cat', None, 'bus']
    """
    name = normalize_phrase(name)
    words = name.split(" ")
    if name in _APPLES or re.search(r"\bapples?\b", name):
        return None
    if name in _NOT_BREEDS:
        return name
    if words[-1] == "cat" or name in _CAT_BREEDS:
        return "cat"
    if words[-1] == "dog" or words[-1] in _DOG_FAMILIES or name in _DOG_BREEDS:
        return "dog"
    return name


def names_held_out(text: str) -> bool:
    """Whether a caption or phrase contains a held-out name."""
    return _HELD_OUT_WORDS.search(text.lower()) is not None


def to_training_sample(sample: Sample) -> Sample:
    """Take the held-out names out of a sample: out of targets, wordings, complete names and captions."""
    targets: dict[str, Target] = {}
    for target in sample.targets:
        name = None if target.kind == "phrase" and names_held_out(target.phrase) else _kept_name(target)
        if name is None:
            continue
        kept = (wording for wording in target.alternatives if training_name(wording) == normalize_phrase(wording))
        alternatives = tuple(kept) if name == target.phrase else ()
        targets.setdefault(canonical(name), replace(target, phrase=name, alternatives=alternatives))
    return replace(
        sample,
        targets=tuple(targets.values()),
        exhaustive=frozenset(name for name in sample.exhaustive if training_name(name) == name),
        captions=tuple(caption for caption in sample.captions if not names_held_out(caption)),
    )


def _kept_name(target: Target) -> str | None:
    return target.phrase if target.kind == "phrase" else training_name(target.phrase)


def is_held_out_region_image(record: Mapping[str, Any]) -> bool:
    """Whether a record of coco_boxes belongs to the third of the images with regions that is kept for evaluation.

    The choice is a function of the COCO id alone, so that it can't drift.
    """
    digest = hashlib.sha256(f"regions:{record.get('coco_id')}".encode()).digest()
    return bool(record.get("regions")) and int.from_bytes(digest[:8], "big") % HELD_OUT_REGION_SHARE == 0
