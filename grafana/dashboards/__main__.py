"""Write the dashboards: `python -m grafana.dashboards grafana/json` (that is `make dashboards`)."""

import json
import sys
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.dashboards import auth, chat, explorer, gateway, loki, noise, notifications, overview, shipper, users
from grafana.dashboards.board import Board

BOARDS: Final = (
    overview.BOARD,
    gateway.BOARD,
    auth.BOARD,
    users.BOARD,
    chat.BOARD,
    notifications.BOARD,
    explorer.BOARD,
    shipper.BOARD,
    loki.BOARD,
    noise.BOARD,
)


def text(board: Board) -> str:
    """Give a dashboard as Grafana reads it: the same source, the same text."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Write a file for each dashboard, named by its uid, and remove those of dashboards that are no more."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / f"{board.uid}.json": text(board) for board in BOARDS}
    for file in set(folder.glob("*.json")) - wanted.keys():
        file.unlink()
    for file, content in wanted.items():
        file.write_text(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
