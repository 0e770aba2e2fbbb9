"""Terms that pages explain where the pointer rests on them; the same list is the glossary of the documentation."""

import re
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

SOURCE = Path(__file__).parent.parent / "glossary.md"


@cache
def glossary() -> dict[str, str]:
    """Term → what it means, in the order of the file; each term is a heading of level 3."""
    parts = SOURCE.read_text(encoding="utf-8").split("\n### ")[1:]
    terms = (part.partition("\n") for part in parts)
    return {term.strip(): meaning.strip().replace("`", "") for term, _, meaning in terms}


@cache
def _pattern() -> re.Pattern[str]:
    terms = sorted(glossary(), key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(map(re.escape, terms))})(s?)\b", re.IGNORECASE)


def explained(text: str) -> Markup:
    """The text as HTML, with the first occurrence of each term as ``<abbr>``."""
    meanings = {term.lower(): meaning for term, meaning in glossary().items()}
    seen = set[str]()

    def marked(found: re.Match[str]) -> str:
        term = found[1].lower()
        if term in seen:
            return found[0]
        seen.add(term)
        return f'<abbr title="{escape(meanings[term])}">{found[0]}</abbr>'

    return Markup(_pattern().sub(marked, str(escape(text))))
