"""The ``name=value`` words of the command line, as doit found them."""

from __future__ import annotations

from doit import doit_cmd


def command_line_words() -> dict[str, str]:
    """Return all ``name=value`` words.

    doit offers only look-ups of known names and takes unknown ones in silence; its table is read whole so that the model can
    refuse what it does not know.
    """
    return dict(doit_cmd._CMDLINE_VARS or {})
