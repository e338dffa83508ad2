"""One HTML page of a results folder: everything in it, nothing fetched, no server.

``page`` puts the parts together; ``overview`` says in words what stands out, ``charts`` draws curves and intervals as
SVG, ``gallery`` the cases. Markup, style and script are in ``templates/``.
"""
