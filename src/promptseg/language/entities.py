"""Find what a caption says is in the image: its entities, the longest names of WordNet that an image can show.

A large language model finds more (Wang et al. 2024, arXiv:2402.08960, table 4: 3 to 4 points of mIoU against a parser);
its entities can be read from a file instead, see `promptseg.data.image_text.load_entities`.
"""

import re
from collections.abc import Iterable

from promptseg.language.hypernyms import load_nouns
from promptseg.language.phrases import canonical, normalize_phrase, singular

MAX_WORDS = 3  # of a name
_PHYSICAL = "physical entity"
# Nouns of WordNet that name no object in a caption: places in the image, amounts, kinds of image, colors.
_NO_OBJECTS = frozenset(
    "air area back background base black body bottom brown bunch center centre close color couple day distance edge "
    "eight end five foreground four front good gray green grey ground group half image inside kind left line lot "
    "middle night number one outside pair part party photo photograph picture piece place position red right row scene "
    "setting seven shot side six space spot stack surface ten three top two type variety view way white world "
    "yellow".split()
)
# Verbs of captions that are nouns too; they are read as objects only after an article.
_VERBS = frozenset(
    "bat being board brush can catch cover cross cut do does dress drive drives face fill fly had hang hanging hangs "
    "has have hit hits hold holds jump jumps kick kicks land lands lay lays lead leads lie lies line lines look looks "
    "pass passes play plays point points pose poses pull pulls reach reaches rest rests ride rides run runs serve "
    "serves set sets show shows sit sits skate skates sleep sleeps smile smiles stand stands stare stares surf swing "
    "swings talk talks throw throws turn turns use uses walk walks watch watches wear wears work works".split()
)
_ARTICLES = frozenset("a an the his her their its".split())
_WORD = re.compile(r"[a-z][a-z'-]*")
_SENTENCE = re.compile(r"[.!?;,:]")


def find_entities(captions: Iterable[str]) -> tuple[str, ...]:
    """Find the entities of an image's captions, in the singular, in the order of their first mention.

    A verb is no entity, except after an article ("a man stands", "a stand"); of synonyms the first mentioned one stays.

    Example:
        >>> find_entities(["A man in a red shirt plays with a tennis racket.", "The guy holds a racket on the court"])
        ('man', 'shirt', 'tennis racket', 'guy', 'racket', 'court')
    """
    found: dict[str, str] = {}
    for caption in captions:
        for part in _SENTENCE.split(normalize_phrase(caption)):
            for name in _names(_WORD.findall(part)):
                found.setdefault(canonical(name), name)
    return tuple(found.values())


def _names(words: list[str]) -> Iterable[str]:
    """Yield the names among the words of a sentence; of names that overlap the longest, which begins first."""
    position = 0
    while position < len(words):
        is_verb = words[position] in _VERBS and (position == 0 or words[position - 1] not in _ARTICLES)
        for length in range(min(MAX_WORDS, len(words) - position), int(is_verb), -1):
            name = singular(" ".join(words[position : position + length]))
            if _is_object(name):
                yield name
                position += length
                break
        else:
            position += 1


def _is_object(name: str) -> bool:
    """Whether a name is one that an image can show."""
    nouns = load_nouns()
    if len(name) < 3 or name in _NO_OBJECTS or name not in nouns.meanings_of:
        return False
    meanings = nouns.meanings_of[name]
    physical = [row for row in meanings if any(_PHYSICAL in nouns.words[above] for above in nouns.above(row))]
    # most of what the word may mean, so that "a lot" and "a time" are none
    return 2 * len(physical) >= len(meanings)
