"""An address to listen on, from the settings."""

import errno
import socket

from shipper.errors import CannotStartError


def bind(key: str, listen: str, *, connections: int = 512) -> socket.socket:
    """Return a listening socket.

    Args:
        key: the setting that names the address, for the error.
        listen: `host:port`; an IPv6 address stands in brackets, and with port 0 the system chooses one.
        connections: how many may wait to be accepted.

    Raises: CannotStartError if the address cannot be had.
    """
    host, _, port = listen.rpartition(":")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, ValueError, OverflowError) as error:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise CannotStartError(
            f"{key} = {listen!r}: "
            + ("another program listens there already; is shipper running twice?" if in_use else f"{error}")
            + f"; choose another address, for example --set {key}=127.0.0.1:0 for any free port"
        ) from error
    bound.listen(connections)
    return bound
