"""Jobs as `az ml job create -f` takes them: read with the lines of what is wrong, sent as the API takes them, and back.

One document is behind a form, its YAML and its SDK code, so that all three say the same.
"""
