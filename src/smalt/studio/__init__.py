"""The Studio: pages for a browser, rendered here of what the platform's own API answers.

Each page is a GET whose URL holds all that one could share (workspace, filters, page, tab, axis), an action is a form.
The Studio has no way of its own to rows: it asks the API inside the process (`platform_api.py`) with the browser's
session, so what is authorized, audited and bounded there is so here. What changes is pushed by the feed of changes
(`static/live-worker.js`); parts of a page are the page itself, asked for once more (htmx's `select`).
"""
