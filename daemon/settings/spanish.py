"""The customer-facing texts as they are when the operator sets no others (es-419)."""

from typing import Final

OPENING: Final = """\
¡Hola{% if name %}, {{ name }}{% endif %}!

Hace un momento hablamos de: {{ summary }}

{% if pending_questions %}
Quedó pendiente:
{% for question in pending_questions %}
• {{ question }}
{% endfor %}
{% endif %}

{% if next_steps %}
Acordamos:
{% for step in next_steps %}
✓ {{ step }}
{% endfor %}
{% endif %}

{% if links %}
Para consultar:
{% for link in links %}
{{ link }}
{% endfor %}
{% endif %}

¿Continuamos por aquí?
"""

OPENING_WITHOUT_SUMMARY: Final = """\
¡Hola{% if name %}, {{ name }}{% endif %}!

Hace un momento hablamos por teléfono. Si le quedó alguna pregunta, puede escribirla por aquí.

¿Continuamos por este medio?
"""

FALLBACK: Final = (
    "En este momento no puedo responderle. Su mensaje quedó guardado; escríbame de nuevo en unos minutos."
)

LEFT_OUT: Final = "[… {count} mensajes más …]"

TEMPLATE_NAME: Final = "{{ name or 'cliente' }}"
