"""Canonical forms by name: how an image becomes tiles."""

from pipeline.forms.form import Form, PlainForm
from pipeline.forms.fundus import FundusForm
from pipeline.forms.head import InnerHeadForm
from pipeline.forms.oct import BruchMembraneForm

_FUNDUS = [FundusForm(flat=flat, rgb=rgb) for flat in (True, False) for rgb in (False, True)]
_ALL: tuple[Form, ...] = (BruchMembraneForm(), *_FUNDUS, InnerHeadForm(), PlainForm())
FORMS = {form.name: form for form in _ALL}
"""Name → form. ``plain`` and ``field_of_view`` are those of the paper, without a canonical form."""
GRAY_FORMS = frozenset({"bruch_membrane", "inner_head"})  # forms of grayscale modalities (OCT, MRI)
