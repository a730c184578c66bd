"""`dim serve`: linking over HTTP."""

from dataclasses import dataclass

from dim.cli.command import Command
from dim.cli.serving import Serving
from dim.errors import DIMError


@dataclass(kw_only=True)
class Serve(Serving, Command):
    """Answers POST /link, GET, PUT and DELETE /entities/{id}, GET /health, /metrics and /docs, until SIGTERM. Prints
    its address when it is ready. With the environment variable DIM_SERVE_TOKEN, changes of entities need that bearer
    token.
    """

    def run(self) -> None:
        """Serves until SIGTERM or SIGINT."""
        settings = self.settings()
        try:
            from dim.serving.app import create_app
            from dim.serving.process import serve
        except ImportError as error:
            raise DIMError(f"The service needs more packages ({error.name}): pip install 'dim-mel[serve]'.") from error
        listener = self.listener(settings, writable=True)
        serve(create_app(self.linker(), settings, self.model), settings, listener)
