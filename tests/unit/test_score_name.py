"""Names of scores: columns and names convert into each other, for every kind."""

import pytest

from pipeline.evaluation.score_name import COMMITTEE, KINDS, METHOD, ScoreName


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("score", ["standardised", "latent", "standardised_signed"])
def test_a_column_is_parsed_to_the_name_it_came_from(kind, score):
    name = ScoreName(kind=kind, owner=COMMITTEE if kind == COMMITTEE else "f_anogan", score=score)
    assert ScoreName.parse(name.column) == name
    assert ScoreName.of(name.method, score) == name


def test_columns_read_as_tables_show_them():
    assert ScoreName(kind="control", owner="patch_neighbour").column == "control_patch_neighbour:standardised"
    assert ScoreName(kind=METHOD, owner="proxyano", score="latent").column == "proxyano:latent"
    assert ScoreName(kind=COMMITTEE, owner=COMMITTEE).column == "committee:standardised"


@pytest.mark.parametrize("column", ["proxyano", ":latent", "proxyano:", ""])
def test_other_columns_are_refused(column):
    with pytest.raises(ValueError, match="named '<method>:<score>'"):
        ScoreName.parse(column)


def test_a_name_needs_a_known_kind_and_an_owner():
    for kind, owner in (("filter", "median"), (METHOD, ""), (METHOD, "a:b")):
        with pytest.raises(ValueError, match="a score name has"):
            ScoreName(kind=kind, owner=owner)
