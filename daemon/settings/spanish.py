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

# --- The telephone ----------------------------------------------------------------------------------------

WHISPER: Final = (
    "Le llama {{ name or 'un cliente' }}{% if digits %}, número terminado en {{ digits }}{% endif %}."
    "{% if reason %} Motivo: {{ reason }}.{% endif %}"
)
PRESS_ONE: Final = "Para aceptar la llamada, marque uno."
CALLER_GONE: Final = "La llamada ya no está en espera. Gracias."
BUSY: Final = (
    "En este momento todas nuestras líneas están ocupadas. Por favor, llame de nuevo en unos minutos."
)
MENU: Final = "En este momento no puedo seguir con la llamada. Para dejar un mensaje, marque uno."
VOICEMAIL: Final = "Deje su mensaje después del tono. Al terminar, puede colgar o marcar numeral."
NOTHING_RECORDED: Final = "No recibimos ningún mensaje. Hasta luego."
RECORDED: Final = "Gracias. Su mensaje quedó guardado y se lo haremos llegar. Hasta luego."
GOODBYE: Final = "Gracias por llamar. Hasta luego."

TOOL_CALLING: Final = (
    "Se está llamando a {{ advisor }}. Dígale a la persona que la está comunicando con {{ advisor }} y que espere un "
    "momento en la línea."
)
TOOL_NOBODY: Final = (
    "No hay ningún asesor disponible, o no lo está el que se pidió por su nombre: entonces se puede pedir otro. Dígaselo a "
    "la persona y ofrézcale dejar un mensaje."
)
TOOL_RECORDING: Final = "Dígale a la persona que enseguida podrá dejar su mensaje. No diga nada más."
TOOL_NOT_NOW: Final = "Ahora no es posible. Siga con la conversación."

TOLD_CALLING: Final = (
    "[Aviso del sistema] Se está llamando a {{ advisor }}. Dígale a la persona que la está comunicando y que espere un "
    "momento."
)
TOLD_NOBODY: Final = (
    "[Aviso del sistema] No hay ningún asesor disponible. Dígaselo a la persona y ofrézcale dejar un mensaje."
)
TOLD_MISSED: Final = (
    "[Aviso del sistema] {{ advisor }} "
    "{% if missed == 'busy' %}no puede contestar, porque tiene la línea ocupada"
    "{% elif missed == 'failed' %}no está disponible{% else %}no contestó{% endif %}. "
    "Dígaselo a la persona y ofrézcale probar con otro asesor o dejar un mensaje."
)
TOLD_JOINED: Final = "[Aviso del sistema] {{ advisor }} ya está en la línea. Despídase en una sola frase: usted sale de la llamada."
TOLD_LEFT: Final = "[Aviso del sistema] {{ advisor }} ya colgó. Pregúntele a la persona si necesita algo más."

BACK_AFTER_LOSS: Final = "Disculpe, se cortó un momento. Aquí sigo con usted."
BACK_AFTER_MISSED: Final = (
    "{{ advisor or 'La persona a la que llamamos' }} "
    "{% if missed == 'busy' %}tiene la línea ocupada{% else %}no logró contestar{% endif %}. "
    "¿Quiere que le deje su recado, o prefiere que pruebe con otro asesor?"
)
BACK_AFTER_ADVISOR: Final = "Aquí sigo con usted. ¿Le puedo ayudar en algo más?"

NOTICE: Final = (
    "{{ name or 'Un cliente' }}{% if number %} ({{ number }}){% endif %} le dejó un mensaje de voz de {{ duration_s }} "
    "segundos. Escúchelo aquí; el enlace vence en {{ hours }} horas: {{ link }}"
)
NOTICE_NAME: Final = "{{ name or 'Un cliente' }}"
NOTICE_LINK: Final = "{{ link or '-' }}"

NOTE_TALKED: Final = "En la llamada habló con {{ advisor }}."
NOTE_MISSED: Final = "En la llamada se buscó a {{ advisor }}, que no se encontraba disponible."
NOTE_MESSAGE: Final = "En la llamada dejó un mensaje de voz{% if advisor %} para {{ advisor }}{% endif %}."
