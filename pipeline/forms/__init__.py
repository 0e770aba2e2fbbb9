"""Canonical forms by name: what a detector sees of an image."""

from pipeline.forms.form import Form
from pipeline.forms.fundus import FieldOfViewForm, FlatFieldForm
from pipeline.forms.head import InnerHeadForm
from pipeline.forms.oct import BruchMembraneForm
from pipeline.forms.plain import PlainForm

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        BruchMembraneForm(),
        FlatFieldForm(),
        FlatFieldForm(rgb=True),
        InnerHeadForm(),
        FieldOfViewForm(),
        FieldOfViewForm(rgb=True),
        PlainForm(),
    )
}
"""Name → form; ``plain`` and ``field_of_view`` are the paper's, with the canonical form off."""
GRAY_FORMS = frozenset({"bruch_membrane", "inner_head"})
"""Forms of modalities that have no colours (OCT, MRI)."""
