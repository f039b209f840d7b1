"""Words that describe an object without changing what it is: colors, materials, patterns, sizes and states.

Captions and names of the training data are full of them, so a phrase with one is segmented as it stands. Any other word
before a noun makes another kind of it ("soapbox cart"), of which a model knows nothing unless it was trained on it.
"""

ATTRIBUTES: frozenset[str] = frozenset(
    # colors
    "beige black blond blonde blue brown colorful colourful cream dark golden gold gray green grey light maroon navy "
    "orange pink purple red silver tan turquoise violet white yellow bright pale "
    # materials
    "brick bamboo cardboard ceramic clay concrete cotton denim fabric fur glass gravel iron knitted leather marble "
    "metal metallic paper plastic rubber steel stone straw velvet wicker wire wood wooden wool woolen "
    # patterns and shapes
    "checked checkered dotted floral flat long narrow oval patterned plaid plain rectangular round short slim square "
    "spotted striped tall thick thin triangular wide "
    # sizes and numbers
    "big double enormous giant huge large little mini miniature single small tiny one two three four five six several "
    "many "
    # states, ages and places
    "adult baby bare broken clean closed cooked dirty dry empty fluffy fresh front full furry hanging hot indoor lit "
    "male female modern new old open outdoor parked raw ripe rusty shiny sitting sleeping sliced smiling soft standing "
    "left right upper lower top bottom back rear running walking wet young".split()
)

# "pair of shoes" are shoes; every other "A of B" is an A.
GROUPS: frozenset[str] = frozenset(
    "array batch bit bunch bundle cluster collection couple crowd flock group heap herd kind lot pack pair piece pile "
    "pride row school set slice stack swarm type variety".split()
)
