# mypy: ignore-errors
# FastAPI is in the baseline's image only, not in this project's environment.
"""The same JSON, as FastAPI's guide would have it: a dictionary returned from a path operation."""

import json
import os

from fastapi import FastAPI

app = FastAPI()
IDENTITY: dict[str, str] = json.loads(os.environ["IDENTITY"])


@app.get("/identity")
async def identity() -> dict[str, str]:
    """Who answered."""
    return IDENTITY
