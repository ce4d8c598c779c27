"""The demonstration: the documentation of Python's standard library, searched by meaning.

The corpus comes from the interpreter that runs the demo, so that nothing is downloaded.
"""
