"""`dim mcp`: linking as tools of language models."""

import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Literal

from dim.cli.command import Command
from dim.cli.serving import Serving
from dim.common.parser import option
from dim.errors import DIMError


@dataclass(kw_only=True)
class MCP(Serving, Command):
    """Offers the linker to MCP clients (Model Context Protocol) as the tools link_mention, annotate, search_entities
    and get_entity; with --writable also upsert_entities and delete_entity. On stdio, the client starts this command;
    over http, it prints its address when it is ready, and with the environment variable DIM_SERVE_TOKEN, changes of
    entities need that bearer token.
    """

    transport: Literal["stdio", "http"] = option("how clients connect", "stdio")
    writable: bool = option("offer the tools that change entities", False)

    def run(self) -> None:
        """Serves until the client closes standard input; over http, until SIGTERM or SIGINT."""
        settings = self.settings()
        over_http = self.transport == "http"
        default = MCP(model="", kb="")
        for name in () if over_http else ("host", "port", "allowed_host"):
            if getattr(self, name) != getattr(default, name):
                raise DIMError(f"--{name.replace('_', '-')} does nothing without --transport http.")
        try:
            from dim.serving.mcp_server import PATH, create_server, http_app, serve_stdio
            from dim.serving.process import serve
        except ImportError as error:
            raise DIMError(f"dim mcp needs more packages ({error.name}): pip install 'dim-mel[mcp]'.") from error
        if over_http:
            listener = self.listener(settings, self.writable)
            server = create_server(self.linker(), settings, self.model, self.writable)
            serve(http_app(server, settings), settings, listener, PATH)
        else:
            with redirect_stdout(sys.stderr):  # standard output belongs to the protocol
                linker = self.linker()
            serve_stdio(create_server(linker, settings, self.model, self.writable))
