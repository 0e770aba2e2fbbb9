"""Each claim of the paper in a plain sentence: confirmed, not confirmed, or undecided at this budget."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from pipeline.reports.ablations.experiments import Compared, DataSet, MeanAUROC, Pair
from pipeline.reports.ablations.paper import CLAIMS, Claim
from pipeline.reports.kit.verdict import listed, number

CONFIRMED, REFUSED, UNDECIDED, UNTESTED = "confirmed", "not confirmed", "undecided at this budget", "not tested"
SMALLEST = 0.001
"""Below it a p is not told apart."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What became of a claim."""

    claim: Claim
    word: str
    why: str

    @property
    def sentence(self) -> str:
        """For people."""
        verb = "was" if self.word == UNTESTED else "is"
        return f"{self.claim.where}: that {self.claim.text} {verb} {self.word}; {self.why}."


def judge(data: DataSet) -> list[Judged]:
    """The paper's claims whose experiments are rows of the data set; p is corrected over all pairs of all of them."""
    claims = [
        claim
        for claim in CLAIMS
        if claim.dataset == data.source and all(name in data.rows for pair in claim.pairs for name in pair)
    ]
    found = data.corrected(pair for claim in claims for pair in claim.pairs)
    return [_judged(claim, data, found) for claim in claims]


def _judged(claim: Claim, data: DataSet, found: Mapping[Pair, Compared]) -> Judged:
    made = {pair: found[pair] for pair in claim.pairs if pair in found}
    against = [pair for pair, d in made.items() if d.sure and d.value < 0]
    clearly = [pair for pair, d in made.items() if d.sure and d.value > 0]
    lacking = sorted({name for pair in claim.pairs for name in pair} - set(data.measured))
    if against:
        word = REFUSED
    elif lacking:
        word = UNTESTED
    else:
        word = CONFIRMED if len(clearly) == len(claim.pairs) else UNDECIDED
    if not made:
        return Judged(claim=claim, word=word, why=f"missing: {listed(lacking)}")
    if len(claim.pairs) == 1:
        return Judged(claim=claim, word=word, why=_pair(claim.pairs[0], data, made[claim.pairs[0]]))
    parts = [f"clearly so in {len(clearly)} of {len(claim.pairs)} comparisons"]
    if against:
        named = listed([_label(data, pair) for pair in against])
        parts.append(f"clearly the other way in {len(against)} ({named})")
    if lacking:
        parts.append(f"missing: {listed(lacking)}")
    return Judged(claim=claim, word=word, why=", ".join(parts))


def _pair(pair: Pair, data: DataSet, found: Compared) -> str:
    first, second = (with_seeds(data.auroc(name)) for name in pair)
    interval = f"[{number(found.low)}, {number(found.high)}]"
    said = f"AUROC {first} against {second}, difference {number(found.value)} {interval}, {p_value(found.p)} (Holm)"
    if len(found.by_seed) > 1:
        said += f", seed by seed {listed([number(gain) for gain in found.by_seed])}"
    return said


def p_value(p: float) -> str:
    """``p .032``, or ``p < .001``."""
    return f"p {number(p)}" if p >= SMALLEST else f"p < {number(SMALLEST)}"


def with_seeds(found: MeanAUROC | None) -> str:
    """A mean with the sd over seeds, where there are several."""
    if found is None:
        return number(None)
    if len(found.by_seed) == 1:
        return number(found.value)
    return f"{number(found.value)} ± {number(stdev(found.by_seed))}"


def _label(data: DataSet, pair: Pair) -> str:
    return " against ".join(data.rows[name].label for name in pair)


def opening(every: Sequence[DataSet]) -> str:
    """The report's first paragraph: how many claims fared how, data set by data set."""
    said = []
    for data in every:
        if not data.measured:
            said.append(f"{data.title}: no experiment has been made.")
            continue
        counts = Counter(judged.word for judged in judge(data))
        words = [f"{counts[word]} {word}" for word in (CONFIRMED, REFUSED, UNDECIDED, UNTESTED) if counts[word]]
        said.append(f"{data.title}: of the paper's {sum(counts.values())} claims {listed(words)}.")
    return " ".join(said)
