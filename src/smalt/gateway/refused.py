"""What the gateway answers in place of a deployment: to strangers, and where there is nothing to lead to.

Envoy reads nothing behind an answer that comes before the body's end, and closes the connection a second later: who
sends all of a large body before reading an answer sees a broken connection and no reason. So what may have such a body
is led to the server, with the answer in two headers; the server reads past the body and gives that answer
(`web/refused.py`). Where no server runs, Envoy gives it all the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from smalt.arm.ids import ResourceId
from smalt.arm.ports import EndpointRoute
from smalt.gateway.clusters import SERVER
from smalt.gateway.documents import EXTENSION, Document, json_body
from smalt.gateway.listener import JWT_FILTER, JWT_METADATA, JWT_REQUIREMENT, REFUSED_BODY, REFUSED_STATUS

REPLACE = "OVERWRITE_IF_EXISTS_OR_ADD"
ANONYMOUS_S = 60.0  # for the whole of a request without a token, key, signature or cookie: its body, and the answer
SMALL_BYTES = 16 << 10  # such a body is on its way as a whole before any answer can be there
SMALL: Document = {"name": "content-length", "range_match": {"start": 0, "end": SMALL_BYTES}}
WITH_BODIES = "POST|PUT|PATCH"


def strangers(endpoint: EndpointRoute) -> list[Document]:
    """401 for every request that has neither a key nor a token of the audience. With no key at all: for every request.

    403 for a good token whose scope is not the endpoint's workspace, nor anything above it.
    """
    conditions: Document = {
        "headers": [header_is("authorization", f"Bearer {key}", invert=True) for key in endpoint.keys]
    }
    audiences = endpoint.jwt_audience.split()
    message = "Send 'Authorization: Bearer' with a key of this endpoint"
    if audiences:
        message = f"Send 'Authorization: Bearer' with a valid access token for {audiences[0]}"
        spellings = [spelling for one in audiences for spelling in (one.rstrip("/"), one.rstrip("/") + "/")]
        conditions["dynamic_metadata"] = [_claim_is_not("aud", spellings)]
    found = answer(endpoint, conditions, 401, "Unauthorized", f"{message}: it is missing, wrong or expired.")
    challenge = f'Bearer realm="{endpoint.name}", error="invalid_token"'
    for one in found:
        one["response_headers_to_add"].append(set_header("WWW-Authenticate", challenge))
    if audiences and endpoint.ended:
        gone: Document = {"dynamic_metadata": [_claim_is("oid", endpoint.ended)], "headers": conditions["headers"]}
        text = "The identity of this access token was deleted."
        found += answer(endpoint, gone, 401, "ExpiredAuthenticationToken", text)
    if audiences and endpoint.workspace:
        elsewhere: Document = {"dynamic_metadata": [_claim_is_not("smalt_scope", _scopes_above(endpoint.workspace))]}
        elsewhere["headers"] = conditions["headers"]  # a key opens in any case
        text = f"The identity of this access token is limited to a scope that the endpoint '{endpoint.name}' is not in."
        found += answer(endpoint, elsewhere, 403, "AuthorizationFailed", text)
    return found


def unknown_endpoint() -> list[Document]:
    message = (
        "There is no endpoint at this address; a scoring URI is /endpoints/{name}/score, with the name as it was given."
    )
    return _answers({"prefix": "/"}, 404, json_body("EndpointNotFound", message))


def answer(endpoint: EndpointRoute, condition: Document, status: int, code: str, message: str) -> list[Document]:
    """The routes that give this answer to all that fits the condition."""
    made = _answers(path_of(endpoint, condition), status, json_body(code, message))
    return [one | token_filter(endpoint) for one in made]


def path_of(endpoint: EndpointRoute, condition: Document) -> Document:
    return {"prefix": f"/endpoints/{endpoint.name}/", "case_sensitive": False} | condition  # the tree has the spellings


def token_filter(endpoint: EndpointRoute) -> Document:
    if not endpoint.jwt_audience:
        return {}
    config = {"@type": f"{EXTENSION}filters.http.jwt_authn.v3.PerRouteConfig", "requirement_name": JWT_REQUIREMENT}
    return {"typed_per_filter_config": {JWT_FILTER: config}}


def header_is(name: str, value: str, invert: bool = False) -> Document:
    matcher: Document = {"name": name, "string_match": {"exact": value}}
    return matcher | {"invert_match": True, "treat_missing_header_as_empty": True} if invert else matcher


def set_header(name: str, value: str) -> Document:
    return {"header": {"key": name, "value": value}, "append_action": REPLACE}


def _answers(match: Document, status: int, body: str) -> list[Document]:
    """At once where the body is small, or where none is usual; else after it, by way of the server."""
    headers = match.get("headers", [])
    sent = {"name": ":method", "string_match": {"safe_regex": {"regex": WITH_BODIES}}}
    return [
        _at_once(match | {"headers": [*headers, SMALL]}, status, body),
        _after_the_body(match | {"headers": [*headers, sent]}, status, body),
        _at_once(match, status, body),
    ]


def _at_once(match: Document, status: int, body: str) -> Document:
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": body}},
        "response_headers_to_add": [set_header("Content-Type", "application/json")],
    }


def _after_the_body(match: Document, status: int, body: str) -> Document:
    return {
        "match": match,
        "route": {
            "cluster": SERVER,
            "timeout": "0s",
            "max_stream_duration": {"max_stream_duration": f"{ANONYMOUS_S:g}s"},
            "retry_policy": {"num_retries": 0},  # without one it would have that of replicas
        },
        "request_headers_to_add": [
            set_header(REFUSED_STATUS, str(status)),
            set_header(REFUSED_BODY, body.replace("%", "%%")),
        ],
        "request_headers_to_remove": ["authorization", "cookie"],
        "response_headers_to_add": [set_header("Content-Type", "application/json")],
    }


def _scopes_above(workspace: str) -> list[str]:
    """'' (everything), and the keys of the workspace and of all that it is in."""
    id_ = ResourceId.parse(workspace)
    return ["", id_.key, *(one.key for one in id_.ancestors)]


def _claim_is_not(claim: str, values: Sequence[str]) -> Document:
    """Fits where the filter found no good token, or one whose `claim` is none of `values`."""
    return _claim_is(claim, values) | {"invert": True}


def _claim_is(claim: str, values: Sequence[str]) -> Document:
    """Fits where the filter found a good token, and its `claim` is one of `values`."""
    wanted = [{"string_match": {"exact": one}} for one in dict.fromkeys(values)]
    return {
        "filter": JWT_FILTER,
        "path": [{"key": JWT_METADATA}, {"key": claim}],
        "value": wanted[0] if len(wanted) == 1 else {"or_match": {"value_matchers": wanted}},
    }
