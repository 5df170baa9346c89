"""What operators and programs that read schemas see."""

from __future__ import annotations

import re
from typing import Any

import httpx
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.catalogue import TOOLS
from tests.api.answers import count, problem
from tests.service import Account, Service, wait_until

WITHOUT_BODY = {"/v1/memories/{memory_id}/restore"}
"""Posted without a body: the address says it all."""


def get(service: Service, path: str, **headers: str) -> httpx.Response:
    return httpx.get(service.url + path, headers=headers)


@pytest.fixture(scope="module")
def schema(service: Service) -> dict[str, Any]:
    document: dict[str, Any] = get(service, "/schema/openapi.json").json()
    return document


def resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into the document."""
    while "$ref" in node:
        found: Any = schema
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def test_alive(service: Service) -> None:
    answer = get(service, "/health")

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready_part_by_part(service: Service, account: Account) -> None:
    account.create("an engine runs")
    wait_until(lambda: get(service, "/ready").json()["parts"]["host"]["engines"] >= 1)  # it is kept for a moment
    answer = get(service, "/ready")
    parts = answer.json()["parts"]

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert set(parts) == {"control_plane", "host", "embedder", "replicator", "disk", "isolation"}
    assert {part["status"] for part in parts.values()} == {"ready"}
    assert parts["host"]["engines"] >= 1
    assert parts["embedder"]["dimensions"] == 384
    assert parts["isolation"]["level"]


def metrics(service: Service) -> dict[str, float]:
    answer = get(service, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    assert samples
    return {_name(sample): sample.value for sample in samples}


def _name(sample: Any) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
    return f"{sample.name}{{{labels}}}" if labels else str(sample.name)


def test_metrics_count_requests_engines_and_embeddings(service: Service, account: Account) -> None:
    created = "engram_http_requests_total{method=POST,route=/v1/memories,status=201}"
    missing = "engram_http_requests_total{method=GET,route=/v1/memories/{memory_id},status=404}"
    before = metrics(service)
    for n in range(3):
        account.create(f"text {n}")
    account.get("/v1/memories/999")
    after = metrics(service)

    assert after[created] - before.get(created, 0) == 3
    assert after[missing] - before.get(missing, 0) == 1
    assert after["engram_embedder_texts"] - before["engram_embedder_texts"] >= 3
    assert after["engram_engines"] >= 1
    assert after["engram_engine_starts"] >= after["engram_engines"]
    for part in ("host", "embedder", "replicator"):
        assert after[f"engram_part_up{{part={part}}}"] == 1
    for name in ("engram_embedder_batches", "engram_embedder_seconds", "engram_embedder_queued", "engram_tenants_on_disk"):
        assert after[name] >= 0
    assert after["engram_http_request_seconds_count{route=/v1/memories}"] >= 3
    assert after["process_resident_memory_bytes"] > 0


def test_metrics_have_no_name_of_a_client(service: Service, account: Account) -> None:
    """Labels made of what clients send would grow without end, and tell one tenant of another."""
    get(service, "/v1/secret-path/canary")
    account.request("CANARYMETHOD", "/v1/memories")
    account.request("CANARY", "/v1/memories")
    text = get(service, "/metrics").text

    assert account.database not in text
    assert "canary" not in text.lower()


def test_every_operation_is_told_apart_and_described(schema: dict[str, Any]) -> None:
    operations = [operation for item in schema["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]

    assert schema["openapi"].startswith("3.1")
    assert len(names) == len(set(names))
    for operation in operations:
        assert operation["summary"]
        assert any(status.startswith("2") for status in operation["responses"])


def test_what_needs_a_key_says_so(schema: dict[str, Any]) -> None:
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, item in schema["paths"].items():
        for operation in item.values():
            needed = path.startswith("/v1/") and path != "/v1/signup"
            assert (operation.get("security") or []) == ([{"key": []}] if needed else []), path


def test_every_reference_leads_somewhere_and_every_schema_is_one(schema: dict[str, Any]) -> None:
    for reference in re.findall(r'"\$ref": *"([^"]*)"', str(schema).replace("'", '"')):
        assert resolved(schema, {"$ref": reference})
    for component in schema["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(component)


@pytest.mark.parametrize(("path", "tool"), [("/v1/memories", "memory_create"), ("/v1/search", "memory_search")])
def test_bodies_are_those_of_the_catalogue(schema: dict[str, Any], path: str, tool: str) -> None:
    body = schema["paths"][path]["post"]["requestBody"]
    described = resolved(schema, body["content"]["application/json"]["schema"])
    arguments = TOOLS[tool].arguments

    assert body["required"] is True
    assert set(described["properties"]) == set(arguments.__struct_fields__)
    first = "content" if tool == "memory_create" else "query"
    assert described["required"] == [first]


def test_bounds_of_the_catalogue_are_in_the_schema(schema: dict[str, Any]) -> None:
    limit = resolved(schema, schema["components"]["schemas"]["MemorySearch"]["properties"]["limit"])
    memory_type = str(schema["components"]["schemas"]["MemoryCreate"]["properties"]["type"])

    assert (limit["minimum"], limit["maximum"]) == (1, 100)
    assert "transcript_chunk" in memory_type


def test_whatever_takes_a_body_says_which(schema: dict[str, Any]) -> None:
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            expected = method in ("post", "patch", "put") and path not in WITHOUT_BODY
            assert ("requestBody" in operation) is expected, (method, path)


def test_path_parameters_are_declared(schema: dict[str, Any]) -> None:
    for path, item in schema["paths"].items():
        for operation in item.values():
            declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
            assert declared == set(re.findall(r"\{([^}]*)\}", path)), path


@pytest.mark.parametrize("request_id", ["12345678", "a.b_c-D9", "x" * 128])
def test_a_sane_request_id_is_echoed(service: Service, request_id: str) -> None:
    assert get(service, "/health", **{"X-Request-Id": request_id}).headers["X-Request-Id"] == request_id


@pytest.mark.parametrize(
    "request_id", ["", "short", "x" * 129, "has space inside", "semi;colon", "<script>", "ümlaut-is-long".encode()]
)
def test_any_other_request_id_is_replaced(service: Service, request_id: str | bytes) -> None:
    answer = httpx.get(f"{service.url}/health", headers={"X-Request-Id": request_id})

    assert re.fullmatch(r"[0-9a-f]{24}", answer.headers["X-Request-Id"])


def test_every_answer_has_an_id_of_its_own_and_the_log_knows_it(service: Service, account: Account) -> None:
    answers = [
        account.get("/v1/memories"),
        account.get("/v1/memories/999"),
        account.get("/v1/nothing"),
        account.put("/v1/memories"),
        account.post("/v1/memories", content=b"{"),
        httpx.get(f"{service.url}/v1/memories"),
        httpx.get(f"{service.url}/nothing"),
    ]
    ids = [answer.headers["X-Request-Id"] for answer in answers]

    assert [answer.status_code for answer in answers] == [200, 404, 404, 405, 400, 401, 404]
    assert len(set(ids)) == len(ids)
    wait_until(lambda: all(request_id in service.log() for request_id in ids))  # lines are written every so often


def test_an_error_has_the_same_headers_as_a_success(account: Account) -> None:
    for answer in (account.get("/v1/memories/999"), account.post("/v1/memories", content=b"{"), account.get("/v1/nothing")):
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert answer.headers["X-Request-Id"]
        assert int(answer.headers["Content-Length"]) == len(answer.content)


@pytest.mark.parametrize(
    "path",
    ["/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"],
)
def test_nothing_speaks_of_oauth_at_the_root(service: Service, path: str) -> None:
    """Clients that find such metadata drop the key they were configured with."""
    problem(get(service, path), 404, "not_found")


def test_the_file_of_one_tenant_is_not_anothers(account: Account, other_account: Account) -> None:
    account.create("x")

    assert (count(account), count(other_account)) == (1, 0)
    assert account.database != other_account.database


def test_the_schema_tells_errors_as_they_are(schema: dict[str, Any], account: Account) -> None:
    for path, item in schema["paths"].items():
        for method, operation in item.items():
            if path.startswith("/v1/"):
                assert {"400", "401", "429", "503"} <= set(operation["responses"]), (method, path)
                assert set(operation["responses"]["400"]["content"]) == {"application/problem+json"}
    document = schema["components"]["schemas"]["ProblemDocument"]["properties"]
    assert set(account.post("/v1/memories", json={"content": 5}).json()) <= set(document)
