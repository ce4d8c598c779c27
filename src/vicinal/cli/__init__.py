"""The command line: it parses, calls the public API, and shows what came back.

Nothing is decided here that the library does not decide. An error is one line on stderr and the exit
code of its class; results go to stdout, as a table for people, as plain lines in a pipe, as JSON on request.
"""

from vicinal.cli.program import main

__all__ = ["main"]
