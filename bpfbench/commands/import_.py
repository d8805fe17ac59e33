"""``doit import FILE [--sha256 HEX]``: put what another machine exported into the store."""

from __future__ import annotations

from typing import Any

from bpfbench.commands.reading import ReadingCommand
from bpfbench.commands.text import counted
from bpfbench.commands.ticker import Ticker
from bpfbench.errors import BenchError


class Import(ReadingCommand):
    """Read a closure."""

    name = "import"
    doc_purpose = "put what `export` wrote on another machine into the store"
    doc_usage = "[--sha256 HEX] FILE"
    doc_description = (
        "Every item is verified before anybody sees it; what is here already stays as it is. An item is what "
        "its exporter says it is, and will be executed: import only what comes from somebody whom you trust, "
        "and compare the SHA-256 that `export` printed."
    )
    cmd_options = (
        {
            "name": "sha256", "short": "", "long": "sha256", "type": str, "default": "",
            "help": "refuse the file unless this is its SHA-256",
        },
    )  # fmt: skip

    def parse_execute(self, in_args: list[str]) -> int:
        """Let options stand behind the file too, where doit itself would take them for files."""
        options = [at for at, word in enumerate(in_args) if word == "--sha256"]
        behind = [word for at in options for word in in_args[at : at + 2]]
        rest = [word for at, word in enumerate(in_args) if not {at, at - 1} & {*options}]
        return int(super().parse_execute([*behind, *rest]))

    def execute(self, params: Any, args: list[str]) -> int:
        """Take the positional argument as a file, not as a task."""
        self._files = args
        return super().execute(params, [])

    def _execute(self, sha256: str) -> int:
        from bpfbench.process import identity
        from bpfbench.store.closure import sha256_of, take
        from bpfbench.store.store import Store

        here = self.load()
        if len(self._files) != 1:
            message = f"import wants one file, not {len(self._files)}"
            raise BenchError(message, hint="./bench import closure.tar")
        archive = here.cwd / self._files[0]
        identity.drop()
        if sha256 and (found := sha256_of(archive)) != sha256.lower():
            message = f"{archive} has the SHA-256 {found}, not {sha256}"
            raise BenchError(message, hint="copy it again; do not use it as it is")
        with Ticker() as ticker:
            taken = take(Store(here.layout.store), archive, ticker)
        for item_id in taken.new:
            self.outstream.write(f"+ {item_id}\n")
        self.outstream.write(f"{counted(len(taken.new), 'item')} new, {len(taken.kept)} here already\n")
        return 0
