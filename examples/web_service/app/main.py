"""A café's web service.

usage: web [--self-check]

Serves on the port in PORT (default: 8080). With --self-check, prints the response of /report and exits.
"""

import os
import sys

import orjson
import uvicorn
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response

from app.report import make_report
from lib.greeting.greeting import greet

service = FastAPI()


@service.get("/health")
def health() -> dict[str, str]:
    """Reports that the service is up."""
    return {"status": "ok"}


@service.get("/greeting/{guest}", response_class=HTMLResponse)
def greeting(guest: str) -> str:
    """Greets a guest."""
    return greet(guest)


@service.get("/report")
def report() -> Response:
    """Returns facts about the menu and the service itself."""
    return Response(orjson.dumps(make_report()), media_type="application/json")


def main() -> None:
    """Runs the service, or the self-check."""
    if "--self-check" in sys.argv[1:]:
        print(orjson.dumps(make_report(), option=orjson.OPT_INDENT_2).decode())
    else:
        port = int(os.environ.get("PORT", "8080"))
        uvicorn.run(service, host="0.0.0.0", port=port, loop="uvloop", http="httptools")


if __name__ == "__main__":
    main()
