"""One HTML page for a results folder: self-contained, no server, no requests.

``page`` puts the parts together; ``overview`` summarises in words, ``charts`` draws curves and intervals as
SVG, ``gallery`` the cases. Markup, style and script are in ``templates/``.
"""
