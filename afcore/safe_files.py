"""The JSON inside files that people hand on, read as a stranger's: held to a format, a version and a schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema

from afcore.errors import BadRequest


def read_description(text: bytes, noun: str, format: str, version: int, schema: dict[str, Any]) -> dict[str, Any]:
    """The JSON object ``text`` (UTF-8), whose ``format``, ``version`` and shape (a JSON schema) are as asked for.

    ``noun`` names the file to people, as in "This is not a {noun}." Raises BadRequest in one sentence for anything
    else.
    """
    try:
        content = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"This {noun} is damaged: its description cannot be read.") from error
    if not isinstance(content, dict) or content.get("format") != format:
        raise BadRequest(f"This is not a {noun}.")
    if content.get("version") != version:
        raise BadRequest(f"This {noun} was saved by another version of this program, which is not understood here.")
    try:
        jsonschema.Draft202012Validator(schema).validate(content)
    except (jsonschema.ValidationError, RecursionError) as error:
        where = "/".join(map(str, getattr(error, "absolute_path", ()))) or "its parts"
        raise BadRequest(f"This {noun} is damaged: {where[:80]} is not as it should be.") from error
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
