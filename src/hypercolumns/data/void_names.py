"""Names of classes that annotation tools and data sets use for pixels without a class."""

import re

# A name is compared in lower case, by its letters only: `Don't-care` is dontcare, and `N/A` is na.
VOID_NAMES = frozenset(
    "void ignore ignored unlabeled unlabelled notlabeled notlabelled nolabel nolabels unannotated notannotated "
    "noannotation unclassified notclassified undefined unknown nodata null missing na dontcare outofroi".split()
)
# Words that say nothing of their own beside a name above, as in `unlabeled area`. Alone, they are ordinary classes.
NEUTRAL_WORDS = frozenset("area areas class other others pixel pixels region regions value".split())


def means_void(name: str) -> bool:
    """Return whether the name of a class may stand for pixels without a class.

    All words must mean void, so that `unknown vehicle` and `missing person` are ordinary classes.
    """
    words = re.findall(r"[^\W\d_]+", re.sub("['\u2019]", "", name).lower())
    telling = [word for word in words if word not in NEUTRAL_WORDS]
    joined = {"".join(words), "".join(telling)}
    return not joined.isdisjoint(VOID_NAMES) or (bool(telling) and VOID_NAMES.issuperset(telling))
