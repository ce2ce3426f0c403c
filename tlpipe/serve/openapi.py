"""The interface as an OpenAPI 3.1 document."""

from collections.abc import Callable
from typing import Any

from tlpipe import __version__
from tlpipe.bundle import Bundle
from tlpipe.entities import types_of
from tlpipe.serve.protocol import DATATYPES
from tlpipe.serve.settings import Settings

Json = dict[str, Any]
OBJECT: Json = {"type": "object"}
TEXT: Json = {"type": "string"}
SENT: Json = {"type": "string", "pattern": r"\S"}
"""A text to answer for: not a blank one."""
BINARY: Json = {"type": "string", "format": "binary"}
PAIR: Json = {
    "type": "object",
    "properties": {"text": SENT, "pair": {"oneOf": [SENT, {"type": "null"}]}},
    "required": ["text"],
    "additionalProperties": False,
}
QUESTION: Json = {
    "type": "object",
    "properties": {"question": SENT, "context": SENT},
    "required": ["question", "context"],
    "additionalProperties": False,
}
WORDS: Json = {"type": "array", "items": SENT, "minItems": 1}
ONE_TEXT, IN_WORDS = (
    {"type": "object", "properties": {key: schema}, "required": [key], "additionalProperties": False}
    for key, schema in (("text", SENT), ("words", WORDS))
)
BODIES: dict[str, Json] = {
    "image": dict.fromkeys(("image/jpeg", "image/png", "image/webp"), BINARY),
    "text": {"text/plain": SENT, "application/json": {"oneOf": [SENT, PAIR]}},
    "words": {"text/plain": SENT, "application/json": {"oneOf": [SENT, WORDS, ONE_TEXT, IN_WORDS]}},
    "question": {"application/json": QUESTION},
}
"""What `/predict` takes besides several parts, by what the model reads."""
SUMMARIES = {
    "image": "Labels with probabilities for images",
    "text": "Labels with probabilities for texts",
    "words": "Entities in texts",
    "question": "Answers to questions, as stretches of their contexts",
}
PROBLEMS = {
    "400": "What was sent cannot be used; `error` says why.",
    "401": "The token is missing or wrong.",
    "404": "There is no such model or version.",
    "408": "The body did not arrive in time.",
    "413": "The body, the image or the number of samples is over a limit.",
    "415": "The content type or encoding is not taken.",
    "503": "No room or no time now; try again after `Retry-After` seconds.",
}


def document(settings: Settings, bundle: Bundle, form: str) -> Json:
    """The document for this server and its bundle; `form` as in `Reading`."""
    found: Json = {
        "openapi": "3.1.0",
        "info": {"title": f"tlpipe: {settings.name}", "version": __version__, "description": f"Task: {bundle.task}."},
        "paths": _paths(settings, form),
        "components": {"schemas": _schemas(bundle, form)},
    }
    if settings.token is not None:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _paths(settings: Settings, form: str) -> Json:
    path = f"/v2/models/{settings.name}"
    return {
        "/predict": {"post": _predict(settings, form)},
        f"{path}/infer": {"post": _infer()},
        path: {"get": _get("What the model takes and gives", "Metadata")},
        f"{path}/ready": {"get": _get("Whether the model answers", "Ready", "503")},
        "/v2": {"get": _get("What the server is", "Server")},
        "/v2/health/live": {"get": _get("Whether the process answers", "Live")},
        "/v2/health/ready": {"get": _get("Whether requests may be sent", "Ready", "503")},
        "/metrics": {"get": {"summary": "For Prometheus", "responses": _responses("text/plain", TEXT, "401")}},
        "/": {"get": {"summary": "A page to try the model", "responses": _responses("text/html", TEXT)}},
        "/openapi.json": {"get": {"summary": "This document", "responses": _responses("application/json", OBJECT)}},
    }


def _predict(settings: Settings, form: str) -> Json:
    several: Json = {
        "type": "object",
        "properties": {"files": {"type": "array", "items": BINARY, "minItems": 1, "maxItems": settings.limits.items}},
        "required": ["files"],
    }
    return {
        "summary": SUMMARIES[form],
        "parameters": [
            {
                "name": "top",
                "in": "query",
                "description": "Labels, or stretches of the context, an answer.",
                "schema": {"type": "integer", "minimum": 1, "maximum": 999_999, "default": 5},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                **{media: {"schema": schema} for media, schema in BODIES[form].items()},
                "multipart/form-data": {"schema": several},
            },
        },
        "responses": _responses("application/json", _ref("Predictions"), "400", "401", "408", "413", "415", "503"),
    }


def _infer() -> Json:
    return {
        "summary": "Tensors in, tensors out (Open Inference Protocol 2)",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "description": "Bytes of JSON at the body's start, when binary tensors follow it.",
                "schema": {"type": "integer", "minimum": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("InferenceRequest")},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": _responses(
            "application/json", _ref("InferenceResponse"), "400", "401", "404", "408", "413", "415", "503"
        ),
    }


def _get(summary: str, schema: str, *problems: str) -> Json:
    return {"summary": summary, "responses": _responses("application/json", _ref(schema), "401", *problems)}


def _responses(media: str, schema: Json, *problems: str) -> Json:
    good = {"description": "Answered.", "content": {media: {"schema": schema}}}
    bad = {"application/json": {"schema": _ref("Problem")}}
    return {"200": good} | {code: {"description": PROBLEMS[code], "content": bad} for code in problems}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: tuple[str, ...] = (), **properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(required)}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}


NUMBER: Json = {"type": "number", "minimum": 0, "maximum": 1}


def _labels(bundle: Bundle) -> Json:
    label = _object(("label", "probability"), label={"type": "string", "enum": list(bundle.labels)}, probability=NUMBER)
    return _object(("label", "probability", "top"), **label["properties"], top=_list(label))


def _entities(bundle: Bundle) -> Json:
    place: Json = {"type": "integer", "minimum": 0}
    kinds: Json = {"type": "string", "enum": list(types_of(bundle.labels))}
    found = {"type": kinds, "text": TEXT, "start": place, "end": place, "score": NUMBER}
    entity: Json = {"type": "object", "properties": found, "required": list(found)}
    return _object(("text", "entities"), text=TEXT, entities=_list(entity))


def _answer(bundle: Bundle) -> Json:
    place: Json = {"type": "integer", "minimum": 0}
    maybe: Json = {**place, "type": ["integer", "null"]}
    chance: Json = {**NUMBER, "type": ["number", "null"]}
    span = _object(("text", "start", "end", "probability"), text=TEXT, start=place, end=place, probability=NUMBER)
    places = {"start": maybe, "end": maybe}
    keys = {"answer": TEXT, **places, "score": chance, "no_answer_probability": chance, "n_best": _list(span)}
    return _object(tuple(keys), **keys)


ANSWERS: dict[str, Callable[[Bundle], Json]] = {
    "image": _labels,
    "text": _labels,
    "words": _entities,
    "question": _answer,
}
"""A sample's answer, by what the model reads."""


def _schemas(bundle: Bundle, form: str) -> Json:
    shape = _list({"type": "integer", "minimum": 1})
    names = {"enum": [port.name for port in bundle.inputs]}
    datatypes = {"enum": sorted({DATATYPES[port.dtype] for port in bundle.inputs})}
    tensor = _object(("name", "shape", "datatype"), name=names, shape=shape, datatype=datatypes, data=_list({}))
    output = _object(("name",), name={"enum": [port.name for port in bundle.outputs]}, parameters=OBJECT)
    given = _object(("name", "shape", "datatype"), name=TEXT, shape=shape, datatype=TEXT, data=_list({}))
    described = _object(("name", "datatype", "shape"), name=TEXT, datatype=TEXT, shape=_list({"type": "integer"}))
    return {
        "Problem": _object((), error=TEXT, ready={"type": "boolean"}),
        "Predictions": _object(
            ("model", "version", "predictions"), model=TEXT, version=TEXT, predictions=_list(ANSWERS[form](bundle))
        ),
        "InferenceRequest": _object(("inputs",), id=TEXT, inputs=_list(tensor), outputs=_list(output)),
        "InferenceResponse": _object(
            ("model_name", "model_version", "outputs"), model_name=TEXT, model_version=TEXT, outputs=_list(given)
        ),
        "Metadata": _object(
            ("name", "inputs", "outputs"), name=TEXT, inputs=_list(described), outputs=_list(described)
        ),
        "Server": _object(("name", "version", "extensions"), name=TEXT, version=TEXT, extensions=_list(TEXT)),
        "Ready": _object(("ready",), ready={"type": "boolean"}),
        "Live": _object(("live",), live={"type": "boolean"}),
    }
