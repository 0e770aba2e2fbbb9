"""The paper's claims: confirmed, not confirmed, undecided at this budget, or not tested."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from pipeline.reports.ablations.experiments import Compared, DataSet, MeanAUROC, Pair
from pipeline.reports.ablations.paper import CLAIMS, Claim
from pipeline.reports.kit.words import interval, listed, number, p_value

CONFIRMED, REFUSED, UNDECIDED, UNTESTED = "confirmed", "not confirmed", "undecided at this budget", "not tested"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim with its verdict."""

    claim: Claim
    word: str
    why: str

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        verb = "was" if self.word == UNTESTED else "is"
        return f"{self.claim.where}: that {self.claim.text} {verb} {self.word}; {self.why}."


def opening(every: Sequence[DataSet]) -> str:
    """The report's first paragraph: how many claims fared how, data set by data set."""
    said = []
    for data in every:
        if not data.measured:
            said.append(f"{data.title}: no experiment has been run.")
            continue
        counts = Counter(judged.word for judged in judge(data))
        words = [f"{counts[word]} {word}" for word in (CONFIRMED, REFUSED, UNDECIDED, UNTESTED) if counts[word]]
        said.append(f"{data.title}: of the paper's {sum(counts.values())} claims {listed(words)}.")
    return " ".join(said)


def judge(data: DataSet) -> list[Judged]:
    """The claims whose experiments are rows of the data set; p is corrected over all pairs of all of them."""
    claims = [
        claim
        for claim in CLAIMS
        if claim.dataset == data.source and all(name in data.rows for pair in claim.pairs for name in pair)
    ]
    found = data.corrected(pair for claim in claims for pair in claim.pairs)
    return [_judged(claim, data, {pair: found[pair] for pair in claim.pairs if pair in found}) for claim in claims]


def _judged(claim: Claim, data: DataSet, found: Mapping[Pair, Compared]) -> Judged:
    against = [pair for pair, d in found.items() if d.sure and d.value < 0]
    clearly = [pair for pair, d in found.items() if d.sure and d.value > 0]
    missing = sorted({name for pair in claim.pairs for name in pair} - set(data.measured))
    if against:
        word = REFUSED
    elif missing:
        word = UNTESTED
    else:
        word = CONFIRMED if len(clearly) == len(claim.pairs) else UNDECIDED
    if len(claim.pairs) == 1 and found:
        (pair,) = claim.pairs
        return Judged(claim=claim, word=word, why=_comparison(data, pair, found[pair]))
    parts = [f"clearly so in {len(clearly)} of {len(claim.pairs)} comparisons"] if found else []
    if against:
        named = listed([" against ".join(data.rows[name].label for name in pair) for pair in against])
        parts.append(f"clearly the other way in {len(against)} ({named})")
    if missing:
        parts.append(f"missing: {listed(missing)}")
    return Judged(claim=claim, word=word, why=", ".join(parts))


def _comparison(data: DataSet, pair: Pair, found: Compared) -> str:
    """A single comparison in figures."""
    first, second = (_with_seeds(data.auroc(name)) for name in pair)
    p = p_value(found.p)
    said = f"AUROC {first} against {second}, difference {interval(found.value, found.low, found.high)}, p {p} (Holm)"
    if len(found.by_seed) > 1:
        said += f", seed by seed {listed([number(gain) for gain in found.by_seed])}"
    return said


def _with_seeds(found: MeanAUROC | None) -> str:
    """A mean with the sd over seeds, where there are several."""
    if found is None:
        return number(None)
    spread = f" ± {number(stdev(found.by_seed))}" if len(found.by_seed) > 1 else ""
    return number(found.value) + spread
