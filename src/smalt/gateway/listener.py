"""The listener: TLS, HTTP/1.1 and h2, access log, tokens, and what Envoy itself answers when something behind it fails.

While the platform runs nothing of it changes but for chains of crowds (`crowds.py`), because that would drain every
connection: endpoints live in routes and clusters only. A chain that comes or goes drains no other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from smalt.gateway.addresses import addresses, is_local
from smalt.gateway.clusters import TRACES
from smalt.gateway.crowds import Room
from smalt.gateway.documents import CONFIG, EXTENSION, KEEP_CASE, Document, json_body, watched_file
from smalt.settings import Settings

ROUTES = "main"
STAT_PREFIX = "ingress"
SECRET, OWN_SECRET = "server", "gateway"  # certificates: what clients are shown, and what nodes are
JWT_FILTER = "envoy.filters.http.jwt_authn"
JWT_PROVIDER = "smalt"
JWT_REQUIREMENT = "token"
JWT_METADATA = "claims"
# Of a connection without a request, hence also before the first. Not a time after which clients like to ask again:
# azure-ai-ml looks once a minute at a long job, and a POST that meets the closing connection is lost to it.
IDLE_S = 150
CROWD_IDLE_S = 5  # of an address that may have few connections: others of it want them
SILENT_S = 3600  # of a request that is under way: a log may be silent for long
HANDSHAKE_S = 10
HEADERS_TIMEOUT_S = 30
CLOCK_SKEW_S = 30
WINDOW_BYTES = 1 << 20
BUFFER_BYTES = 1 << 20
BACKLOG = 4096  # connections that wait while Envoy is started again
ASLEEP_HEADER = "x-smalt-asleep"  # ENDPOINT/DEPLOYMENT of a request that waits for an instance
PROCESSING = "smalt.processing"  # the extension of ASGI that says 102 to the gateway
REFUSED_STATUS, REFUSED_BODY = "x-smalt-refused", "x-smalt-refusal"  # what the server is to answer (`refused.py`)
ORIGINAL_PATH = "x-envoy-original-path"  # Envoy's, of a request whose path it has changed: those for deployments
_AWAY = ["UF", "UC", "UH", "UR", "URX", "NC", "LH"]  # nothing answered behind the gateway
_TRIED = ["UF", "UH", "URX", "NC", "LH"]  # nor could it be asked, or was asked as often as it may be
_BROKEN = ["UC", "UR"]
REFUSED = (401, 403, 404)
INSTANCE_ENDED = json_body(
    "InstanceEnded",
    "The instance that worked on this request ended before it answered: it may have needed more memory than there is."
    " The request is given to no other instance. The logs of the deployment say more.",
)
ROOM = Room()
NOBODY = {"address_prefix": "255.255.255.255", "prefix_len": 32}

ACCESS_LOG: dict[str, str] = {  # no query (SAS signatures, login codes) and no header that opens anything
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ:ORIG_OR_PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "duration_ms": "%DURATION%",
    "upstream_ms": "%RESPONSE_DURATION%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "agent": "%REQ(USER-AGENT)%",
}


def listener(
    settings: Settings,
    routes: Path,
    secrets: Path,
    issuer: str,
    jwks: Mapping[str, Any],
    room: Room = ROOM,
    crowds: Sequence[str] = (),
) -> Document:
    """The listener on all addresses of `settings.host`; `routes` and `secrets` are files to follow.

    `crowds`: networks that are bounded, each by itself.
    """
    first, *more = addresses(settings.host)
    manager = {"@type": f"{EXTENSION}filters.network.http_connection_manager.v3.HttpConnectionManager"}
    manager |= _connection_manager(settings, routes, issuer, jwks)
    chains = _chains(is_local(settings.host), manager, _tls(secrets), room)
    chains += [_crowd(network, chain, manager, room) for network in crowds for chain in chains]
    return {
        "@type": f"{CONFIG}listener.v3.Listener",
        "name": "main",
        "address": _socket(first, settings.port),
        "additional_addresses": [{"address": _socket(one, settings.port)} for one in more],
        "per_connection_buffer_limit_bytes": BUFFER_BYTES,
        "tcp_backlog_size": BACKLOG,
        "enable_reuse_port": False,  # with it, two platforms on one port would take each other's connections in silence
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": chains,
    }


def _chains(local: bool, manager: Document, tls: Document, room: Room) -> list[Document]:
    """One for this machine.

    Where others are let in, one for them too: they can take half of all connections, no more.
    """
    own: Document = {
        "name": "own",
        "filters": [_http(manager)],
        "transport_socket": tls,
        "transport_socket_connect_timeout": f"{HANDSHAKE_S}s",
    }
    if local:
        return [own]
    mine = own | {"filter_chain_match": {"source_type": "SAME_IP_OR_LOOPBACK"}}
    return [mine, own | {"name": "others", "filters": [_limit("others", room.others), _http(manager)]}]


def _crowd(network: str, chain: Document, manager: Document, room: Room) -> Document:
    """A chain for those of `network` that `chain` was for. What they have there stays there."""
    address, _, length = network.partition("/")
    ranges = [{"address_prefix": address, "prefix_len": int(length)}]
    match = {**chain.get("filter_chain_match", {}), "source_prefix_ranges": ranges}
    hasty = manager | {
        "common_http_protocol_options": manager["common_http_protocol_options"] | {"idle_timeout": f"{CROWD_IDLE_S}s"}
    }
    filters = [_limit("crowd", room.bound), _http(hasty)]
    return chain | {"name": f"{chain['name']} {network}", "filter_chain_match": match, "filters": filters}


def _http(manager: Document) -> Document:
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}


def _limit(name: str, most: int) -> Document:
    limit = {"@type": f"{EXTENSION}filters.network.connection_limit.v3.ConnectionLimit"}
    limit |= {"stat_prefix": name, "max_connections": most}
    return {"name": "envoy.filters.network.connection_limit", "typed_config": limit}


def certificate(secret: str, folder: Path, name: str) -> Document:
    """`name`.pem and its key as a secret, so that renewed files are taken over without touching what uses them."""
    return {
        "@type": f"{EXTENSION}transport_sockets.tls.v3.Secret",
        "name": secret,
        "tls_certificate": {
            "certificate_chain": {"filename": str(folder / f"{name}.pem")},
            "private_key": {"filename": str(folder / f"{name}.key")},
            "watched_directory": {"path": str(folder)},
        },
    }


def _socket(address: str, port: int) -> Document:
    return {"socket_address": {"address": address, "port_value": port}}


def _tls(secrets: Path) -> Document:
    common = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [{"name": SECRET, "sds_config": watched_file(secrets)}],
    }
    context = {"@type": f"{EXTENSION}transport_sockets.tls.v3.DownstreamTlsContext", "common_tls_context": common}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _connection_manager(settings: Settings, routes: Path, issuer: str, jwks: Mapping[str, Any]) -> Document:
    return {
        "stat_prefix": STAT_PREFIX,
        "codec_type": "AUTO",
        "rds": {"route_config_name": ROUTES, "config_source": watched_file(routes)},
        "server_header_transformation": "PASS_THROUGH",
        "use_remote_address": True,
        "internal_address_config": {"cidr_ranges": [NOBODY]},  # else a local client may steer us with x-envoy-* headers
        "normalize_path": False,  # a blob's name may hold anything, and signatures cover it as sent
        "merge_slashes": False,
        "stream_idle_timeout": f"{SILENT_S}s",
        "request_timeout": "0s",
        "request_headers_timeout": f"{HEADERS_TIMEOUT_S}s",
        "common_http_protocol_options": {"idle_timeout": f"{IDLE_S}s", "headers_with_underscores_action": "ALLOW"},
        "http_protocol_options": KEEP_CASE,
        "http2_protocol_options": {
            "max_concurrent_streams": 256,
            "initial_stream_window_size": WINDOW_BYTES,
            "initial_connection_window_size": 4 * WINDOW_BYTES,
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "access_log": [_access_log(settings.logs / "access.log")],
        "local_reply_config": {"mappers": _local_replies()},
        "http_filters": [_tokens(issuer, jwks), _router()],
        **({"tracing": _tracing(settings.otlp)} if settings.otlp else {}),
    }


def _tracing(otlp: str) -> Document:
    """Of what routes ask for (`routes.py`): scoring, and nothing else."""
    uri = otlp if urlsplit(otlp).path.strip("/") else f"{otlp.rstrip('/')}/v1/traces"
    config = {
        "@type": f"{CONFIG}trace.v3.OpenTelemetryConfig",
        "http_service": {"http_uri": {"uri": uri, "cluster": TRACES, "timeout": "5s"}},
        "service_name": "smalt",
    }
    provider = {"name": "envoy.tracers.opentelemetry", "typed_config": config}
    return {"provider": provider, "random_sampling": {"value": 0}}


def _access_log(path: Path) -> Document:
    config = {
        "@type": f"{EXTENSION}access_loggers.file.v3.FileAccessLog",
        "path": str(path),
        "log_format": {"json_format": ACCESS_LOG},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _tokens(issuer: str, jwks: Mapping[str, Any]) -> Document:
    """Checks a token where a route requires it and leaves its claims as metadata, which no client can forge.

    It refuses nothing: the routes do, by audience (`routes.py`), so that new endpoints never change the listener.
    """
    provider = {
        "issuer": issuer,
        "local_jwks": {"inline_string": json.dumps(jwks, sort_keys=True)},
        "forward": True,
        "payload_in_metadata": JWT_METADATA,
        "clear_route_cache": True,
        "require_expiration": True,
        "clock_skew_seconds": CLOCK_SKEW_S,
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
    }
    config = {
        "@type": f"{EXTENSION}filters.http.jwt_authn.v3.JwtAuthentication",
        "providers": {JWT_PROVIDER: provider},
        "requirement_map": {
            JWT_REQUIREMENT: {
                "requires_any": {"requirements": [{"provider_name": JWT_PROVIDER}, {"allow_missing_or_failed": {}}]}
            }
        },
    }
    return {"name": JWT_FILTER, "typed_config": config}


def _router() -> Document:
    config = {"@type": f"{EXTENSION}filters.http.router.v3.Router"}
    return {"name": "envoy.filters.http.router", "typed_config": config}


def _local_replies() -> list[Document]:
    """What Envoy says by itself, as JSON with a status that clients know how to retry. The first that fits is taken."""
    asleep = (
        "This deployment has no instance at the moment, and the platform's server, which starts one, is not running."
        " Try again when it is."
    )
    unavailable = "The service behind this address is not answering at the moment (it may be restarting). Try again."
    return [
        _reply(
            ["UO"],
            429,
            json_body("TooManyRequests", "More requests wait for this deployment than it can take. Try again later."),
            retry=True,
        ),
        _reply(["DT"], 408, json_body("RequestTimeout", "A request without a token must be sent within a minute.")),
        _reply(["UT"], 408, json_body("RequestTimeout", "The deployment did not answer within its request timeout.")),
        *(_refusal(status) for status in REFUSED),
        _reply(_AWAY, 503, json_body("NoInstance", asleep), retry=True, of=ASLEEP_HEADER),
        _reply(_TRIED, 503, json_body("ServiceUnavailable", unavailable), retry=True),
        _reply(_BROKEN, 502, INSTANCE_ENDED, of=ORIGINAL_PATH),
        _reply(_AWAY, 503, json_body("ServiceUnavailable", unavailable), retry=True),
        _reply(["NR"], 404, json_body("NotFound", "There is nothing at this address.")),
        _of_status(507, _reply([], 503, json_body("ServiceUnavailable", unavailable), retry=True)),
    ]


def _refusal(status: int) -> Document:
    """Of a request that the server was to refuse, where no server runs."""
    refused = {"name": REFUSED_STATUS, "string_match": {"exact": str(status)}}
    reply = _reply(_AWAY, status, "")
    reply["filter"] = {"and_filter": {"filters": [reply["filter"], {"header_filter": {"header": refused}}]}}
    reply["body_format_override"]["text_format_source"] = {"inline_string": f"%REQ({REFUSED_BODY})%\n"}
    return reply


def _of_status(status: int, reply: Document) -> Document:
    """`reply` in place of what Envoy says with that: 507 where a body is too large to be given to another instance."""
    value = {"default_value": status, "runtime_key": "smalt.unused"}
    return reply | {"filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}}


def _reply(flags: list[str], status: int, body: str, retry: bool = False, of: str = "") -> Document:
    """`of`: only of requests that have this header when they are passed on."""
    fits: Document = {"response_flag_filter": {"flags": flags}}
    if of:
        fits = {"and_filter": {"filters": [fits, {"header_filter": {"header": {"name": of, "present_match": True}}}]}}
    reply: Document = {
        "filter": fits,
        "status_code": status,
        "body": {"inline_string": body},
        "body_format_override": {
            "text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%\n"},
            "content_type": "application/json",
        },
    }
    if retry:
        header = {"key": "Retry-After", "value": "1"}
        reply["headers_to_add"] = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    return reply
