"""Canonical forms by name: how an image becomes tiles."""

from pipeline.forms.form import Form
from pipeline.forms.fundus import FundusForm
from pipeline.forms.head import InnerHeadForm
from pipeline.forms.oct import BruchMembraneForm
from pipeline.forms.plain import PlainForm

FORMS: dict[str, Form] = {
    form.name: form
    for form in (
        BruchMembraneForm(),
        FundusForm(flat=True, rgb=False),
        FundusForm(flat=True, rgb=True),
        InnerHeadForm(),
        FundusForm(flat=False, rgb=False),
        FundusForm(flat=False, rgb=True),
        PlainForm(),
    )
}
"""Name → form. ``plain`` and ``field_of_view`` are those of the paper, without a canonical form."""
GRAY_FORMS = frozenset({"bruch_membrane", "inner_head"})
"""Forms of grayscale modalities (OCT, MRI)."""
