"""How the data of a run becomes text in a journal, and becomes data again."""

from .envelope import (
    Codec,
    Encoded,
    codec_named,
    decode_context,
    decode_delta,
    decode_error,
    decode_value,
    encode_context,
    encode_delta,
    encode_error,
    encode_value,
)
from .failures import traceback_text
from .registry import register_type
from .text import digest_of

__all__ = [
    "Codec",
    "Encoded",
    "codec_named",
    "decode_context",
    "decode_delta",
    "decode_error",
    "decode_value",
    "digest_of",
    "encode_context",
    "encode_delta",
    "encode_error",
    "encode_value",
    "register_type",
    "traceback_text",
]
