"""The interface as an OpenAPI 3.1 document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, create_model

from tlpipe import __version__
from tlpipe.bundle import Bundle
from tlpipe.serve.http.inference_protocol import DATATYPES
from tlpipe.serve.http.settings import Settings
from tlpipe.serve.reading import Binary, Reading

Json = dict[str, Any]
TEXT, OBJECT = {"type": "string"}, {"type": "object"}
REF = "#/components/schemas/{model}"
PROBLEMS = {
    "400": "What was sent cannot be used; `error` says why.",
    "401": "The token is missing or wrong.",
    "404": "There is no such model or version.",
    "408": "The body did not arrive in time.",
    "413": "The body, the image or the number of samples is over a limit.",
    "415": "The content type or encoding is not taken.",
    "503": "No room or no time now; try again after `Retry-After` seconds.",
}


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str = ""
    ready: bool = True


class Tensor(BaseModel):
    """Description of an input or output; -1 stands for a size that is free."""

    name: str
    datatype: str
    shape: list[int]


class OutputTensor(Tensor):
    """An output with its values."""

    data: list[Any] = []


class InferenceResponse(BaseModel):
    """Tensors out (Open Inference Protocol 2)."""

    model_name: str
    model_version: str
    outputs: list[OutputTensor]


class Metadata(BaseModel):
    """What the model takes and gives."""

    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]


class Server(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class Ready(BaseModel):
    """Whether requests may be sent."""

    ready: bool


class Live(BaseModel):
    """Whether the process answers."""

    live: bool


def document(settings: Settings, bundle: Bundle, reading: Reading) -> Json:
    """The document for this server and its bundle, from the models of its task's requests and answers."""
    bodies, schemas = _schemas(bundle, reading)
    found: Json = {
        "openapi": "3.1.0",
        "info": {"title": f"tlpipe: {settings.name}", "version": __version__, "description": f"Task: {bundle.task}."},
        "paths": _paths(settings, reading, bodies),
        "components": {"schemas": schemas},
    }
    if settings.token is not None:
        found["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"token": []}]
    return found


def _paths(settings: Settings, reading: Reading, bodies: Json) -> Json:
    path = f"/v2/models/{settings.name}"
    return {
        "/predict": {"post": _predict(settings, reading, bodies)},
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


def _predict(settings: Settings, reading: Reading, bodies: Json) -> Json:
    several: Json = {
        "type": "object",
        "properties": {
            "files": {
                "type": "array",
                "items": TypeAdapter(Binary).json_schema(),
                "minItems": 1,
                "maxItems": settings.limits.items,
            }
        },
        "required": ["files"],
    }
    return {
        "summary": reading.summary,
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
                **{media: {"schema": schema} for media, schema in bodies.items()},
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


def _schemas(bundle: Bundle, reading: Reading) -> tuple[Json, Json]:
    """(schema of a sample by content type, all named schemas)."""
    answers: Any = list[reading.answer_model()]  # type: ignore[misc]
    predictions = _model("Predictions", model=str, version=str, predictions=answers)
    models = (Problem, InferenceResponse, Metadata, Server, Ready, Live, predictions)
    sent = [(media, "validation", TypeAdapter(body)) for media, body in reading.bodies.items()]
    sent.append(("inference", "validation", TypeAdapter(_inference(bundle))))
    given = [(model.__name__, "serialization", TypeAdapter(model)) for model in models]
    schemas, defined = TypeAdapter.json_schemas([*sent, *given], ref_template=REF)  # type: ignore[list-item]
    return {media: schemas[media, "validation"] for media in reading.bodies}, defined["$defs"]


def _inference(bundle: Bundle) -> type[BaseModel]:
    """Tensors in, with the names and types that the graph has."""
    names, outputs = (tuple(port.name for port in ports) for ports in (bundle.inputs, bundle.outputs))
    datatypes = tuple(sorted({DATATYPES[port.dtype] for port in bundle.inputs}))
    shape = list[Annotated[int, Field(ge=1)]]
    tensor = _model("InputTensor", name=Literal[names], shape=shape, datatype=Literal[datatypes])
    tensor = create_model("InputTensor", __base__=tensor, data=(list[Any], []))
    output = create_model("RequestedOutput", __base__=_model("Named", name=Literal[outputs]), parameters=(dict, {}))
    request = _model("InferenceRequest", inputs=list[tensor])  # type: ignore[valid-type]
    optional: Any = {"id": (str, ""), "outputs": (list[output], [])}  # type: ignore[valid-type]
    return create_model("InferenceRequest", __base__=request, **optional)


def _model(title: str, /, **fields: Any) -> type[BaseModel]:
    """A model whose fields are all required."""
    required: Any = {field: (kind, ...) for field, kind in fields.items()}
    return create_model(title, **required)
