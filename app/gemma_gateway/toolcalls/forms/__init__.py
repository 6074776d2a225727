"""The forms in which Gemma writes calls.

A new form is one file here and one entry in ``FORMS``.
"""

from __future__ import annotations

from gemma_gateway.toolcalls.forms import fence, line, marker, tag
from gemma_gateway.toolcalls.forms.form import Form

FORMS: tuple[Form, ...] = (fence.Fence(), marker.Marker(), tag.Tag(), line.Line())
