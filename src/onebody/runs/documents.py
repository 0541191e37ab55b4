"""JSON from files that may be damaged, or of somebody else."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """The value that a JSON text describes.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
