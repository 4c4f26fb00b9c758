"""The forms in which an object holds weights: numbers in its fields, JSON in an annotation, one number for a share.

Each form reads the rules of an object, and writes weights into it as operations of a JSON Patch.
"""

from rolloutplan.api.route_kind import RouteKindSpec
from rolloutplan.traffic.forms.annotation import AnnotationForm
from rolloutplan.traffic.forms.base import Form
from rolloutplan.traffic.forms.fields import FieldForm
from rolloutplan.traffic.forms.share import ShareForm


def form_of(spec: RouteKindSpec) -> Form:
    """The form of a kind's weights."""
    if spec.annotations is not None:
        return AnnotationForm(spec, spec.annotations)
    return FieldForm(spec) if spec.share is None else ShareForm(spec, spec.share)
