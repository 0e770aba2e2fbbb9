"""Canonical forms by name: what a detector sees of an image."""

from pipeline.steps.canonical.form import Form
from pipeline.steps.canonical.fundus import FieldOfViewForm, FlatFieldForm
from pipeline.steps.canonical.head import InnerHeadForm
from pipeline.steps.canonical.oct import BruchMembraneForm
from pipeline.steps.canonical.plain import PlainForm

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
