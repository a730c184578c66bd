"""`dim serve` on the command line."""

import argparse

from dim.errors import DIMError

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the command, with the function that runs it as `run`.

    Args:
        commands: Where the parser keeps its commands.
    """
    serve = commands.add_parser(
        "serve",
        help="link over HTTP",
        description="Answers POST /link, GET, PUT and DELETE /entities/{id}, GET /health, /metrics and /docs, until "
        "SIGTERM. Prints its address when it can be asked. With the environment variable DIM_SERVE_TOKEN, changes of "
        "entities need that bearer token.",
    )
    serve.add_argument("--model", required=True, help="folder or Hub name of a DIM")
    serve.add_argument("--kb", required=True, help="a knowledge base (`dim kb create`)")
    serve.add_argument("--device", help="cpu, cuda ...; the GPU by default if there is one")
    serve.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32",
                       help="of the model's arithmetic (%(default)s)")  # fmt: skip
    serve.add_argument("--rerank", type=int, default=0, metavar="N",
                       help="best candidates that the model's reranker reads once more (%(default)s)")  # fmt: skip
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    serve.add_argument("--allowed-host", action="append", metavar="NAME",
                       help="name by which the service may be asked for; may repeat (localhost where --host is local, "
                       "else any)")  # fmt: skip
    serve.add_argument("--max-batch", type=int, default=32, metavar="N", help="mentions linked at a time (%(default)s)")
    serve.add_argument("--max-wait", type=float, default=3, metavar="MS",
                       help="milliseconds that a batch waits for more mentions (%(default)s)")  # fmt: skip
    serve.add_argument("--max-queue", type=int, default=1024, metavar="N",
                       help="mentions that wait; more are answered by 429 (%(default)s)")  # fmt: skip
    serve.add_argument("--timeout", type=float, default=30, metavar="S",
                       help="seconds for a body to arrive, and again for the answer (%(default)s)")  # fmt: skip
    serve.add_argument("--max-body", type=float, default=16, metavar="MB", help="size of a request (%(default)s)")
    serve.add_argument("--max-pixels", type=float, default=25, metavar="MP",
                       help="size of a picture, in millions of pixels (%(default)s)")  # fmt: skip
    serve.add_argument("--max-memory", type=float, default=1000, metavar="MB",
                       help="bodies and decoded pictures held at a time; beyond, 429 (%(default)s)")  # fmt: skip
    serve.add_argument("--fetch-urls", action="store_true",
                       help="pictures may be http(s) URLs, fetched from public addresses only")  # fmt: skip
    serve.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from dim.serving.settings import Settings, token_from_environment

    local = arguments.host in _LOOPBACK
    names = arguments.allowed_host or (_LOOPBACK if local else ())
    settings = Settings(
        max_batch=arguments.max_batch,
        max_wait=arguments.max_wait / 1000,
        max_queue=arguments.max_queue,
        timeout=arguments.timeout,
        max_body=int(arguments.max_body * 1e6),
        max_pixels=int(arguments.max_pixels * 1e6),
        max_memory=int(arguments.max_memory * 1e6),
        fetch_urls=arguments.fetch_urls,
        allowed_hosts=tuple(name.lower() for name in names),
        token=token_from_environment(),
    )
    try:
        from dim.serving.process import bind, serve
    except ImportError as error:
        raise DIMError(f"The service needs more packages ({error.name}): pip install 'dim-mel[serve]'.") from error
    import logging

    import torch

    from dim.linking.linker import CANDIDATES, DIMLinker

    if not 0 <= arguments.rerank <= CANDIDATES:
        raise DIMError(f"--rerank must lie between 0 and {CANDIDATES}, got {arguments.rerank}.")
    listener = bind(arguments.host, arguments.port)
    if settings.token is None and not local:
        logging.getLogger("dim").warning("Whoever reaches %s can change entities; set DIM_SERVE_TOKEN.", arguments.host)
    dtype = getattr(torch, arguments.dtype)
    linker = DIMLinker.from_pretrained(arguments.model, arguments.kb, arguments.device, dtype, arguments.rerank)
    serve(linker, settings, str(arguments.model), listener)
    return 0


__all__ = ["add_commands"]
