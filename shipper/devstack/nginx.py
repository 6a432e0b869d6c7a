"""nginx as the sink of throughput runs: it reads every request's body and answers 204."""

from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import requests

from shipper.devstack.parts import locate
from shipper.devstack.server import HOST, Server, free_port

# nginx reads a body only when it proxies, so it proxies to itself, without the body. One process serves all of it
# (`master_process off`): it would outlive its parent as somebody's child otherwise.
_CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_buffer_size 16m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    upstream answer {{
        server {host}:{inner_port};
        keepalive 16;
    }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://answer;
            proxy_http_version 1.1;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header Connection "";
        }}
    }}
    server {{
        listen {host}:{inner_port};
        location / {{ return 204; }}
    }}
}}
"""


class NginxSink(Server):
    """A sink on `url` that answers 204 to any request, as Loki does to a push, after it has read the body.

    Args:
        data_dir: its folder.
    """

    name = "nginx"

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._port, self._inner_port = free_port(), free_port()

    @property
    def url(self) -> str:
        """The address to push to, in the place of Loki's."""
        return f"http://{HOST}:{self._port}"

    def _command(self) -> Sequence[str]:
        config = self.data_dir / "nginx.conf"
        config.write_text(_CONFIG.format(folder=self.data_dir, host=HOST, port=self._port, inner_port=self._inner_port))
        return [str(locate("nginx")), "-p", str(self.data_dir), "-c", str(config)]

    def _is_ready(self) -> bool:
        try:
            return requests.get(self.url, timeout=2).status_code == HTTPStatus.NO_CONTENT
        except requests.RequestException:
            return False
