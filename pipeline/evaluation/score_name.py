"""Names of scores: whose score it is, and which one. A score's column in a table is ``<method>:<score>``."""

from dataclasses import dataclass

METHOD, MEMBER, CONTROL, NULL, SHORTCUT, COMMITTEE = (
    "method",  # the lane's own method
    "member",  # another learned method of the lane
    "control",  # no learned network
    "null",  # the method's own score with the reconstruction replaced by an image that no network made
    "shortcut",  # a property unrelated to disease, for example the size of the file
    "committee",  # the weighted sum of its members' scores
)
KINDS = (METHOD, MEMBER, CONTROL, NULL, SHORTCUT, COMMITTEE)
PRIMARY = "standardised"
"""The score by which methods are compared, fixed before any test. Other scores are only shown."""


@dataclass(frozen=True, kw_only=True)
class ScoreName:
    """One score of one owner."""

    kind: str  # one of KINDS
    owner: str  # registered name of the method, control, null or shortcut; "committee" for the committee
    score: str = PRIMARY

    def __post_init__(self) -> None:
        """Check that column and name can be converted into each other."""
        if self.kind not in KINDS or not self.owner or not self.score or ":" in self.owner:
            raise ValueError(f"a score name has a kind of {KINDS}, an owner and a score, got {self}")

    @property
    def method(self) -> str:
        """Owner as tables and records write it, with its kind in front: ``control_pca``."""
        return self.owner if self.kind in (METHOD, COMMITTEE) else f"{self.kind}_{self.owner}"

    @property
    def column(self) -> str:
        """Column of a score table: ``control_pca:standardised``."""
        return f"{self.method}:{self.score}"

    @classmethod
    def parse(cls, column: str) -> "ScoreName":
        """Inverse of `column`; ValueError where the text is not ``<method>:<score>``."""
        method, mark, score = column.partition(":")
        if not (method and mark and score):
            raise ValueError(f"a score column is named '<method>:<score>', got {column!r}")
        return cls.of(method, score)

    @classmethod
    def of(cls, method: str, score: str = PRIMARY) -> "ScoreName":
        """Name of a record's method and score."""
        if method == COMMITTEE:
            return cls(kind=COMMITTEE, owner=COMMITTEE, score=score)
        kind, mark, owner = method.partition("_")
        if mark and kind in (MEMBER, CONTROL, NULL, SHORTCUT):
            return cls(kind=kind, owner=owner, score=score)
        return cls(kind=METHOD, owner=method, score=score)


def kind_of(method: str) -> str:
    """Kind of a record's method, one of ``KINDS``."""
    return ScoreName.of(method).kind
