"""Ray's dashboard: its jobs and what it says of actors, over HTTP. Nothing here imports Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import httpx

from smalt.arm.errors import ArmError, invalid

_OLDEST = (2, 50)
_CONNECT_S = 3.0
_CALL_S = 6.0  # a whole call: a worker of the control loop waits for it


@dataclass(frozen=True)
class Job:
    """`status`: PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED."""

    status: str
    message: str

    @property
    def ended(self) -> bool:
        return self.status not in ("PENDING", "RUNNING")


def check_address(url: str, token: str, field: str = "ray") -> None:
    """Raises ArmError(400) with `field`.url or `field`.token, where no request could be made with them."""
    try:
        parsed = httpx.URL(url)
        parsed.raw_host.decode("ascii").encode("idna")  # as a look-up of it does
        if not parsed.host or (parsed.port is not None and not 0 < parsed.port < 65536):
            raise ValueError("a host is needed, and a port from 1 to 65535")
    except (httpx.InvalidURL, ValueError) as error:
        message = f"{field}.url: '{url[:200]}' is not the address of a dashboard, as http://HOST:8265: {error}."
        raise invalid(message, f"{field}.url") from error
    if not token.isascii() or not token.isprintable():
        raise invalid(f"{field}.token: a token is one line of printable ASCII characters.", f"{field}.token")


class Dashboard:
    """All calls raise ArmError: RayUnreachable, RayUnauthorized, RayUnsupported, RayFailed."""

    def __init__(
        self, url: str, token: str = "", transport: httpx.BaseTransport | None = None, call_s: float | None = None
    ) -> None:
        """`token`: Ray's, where it runs with RAY_AUTH_MODE=token. `call_s`: what a call may take (6 s).

        Raises ArmError(400), see `check_address`.
        """
        check_address(url, token)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._url = url.rstrip("/")
        self._call_s = call_s or _CALL_S
        timeout = httpx.Timeout(self._call_s, connect=min(_CONNECT_S, self._call_s))
        self._client = httpx.Client(base_url=self._url, headers=headers, timeout=timeout, transport=transport)

    def __enter__(self) -> Dashboard:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def check(self) -> str:
        """Ray's version, where it is one that can be used."""
        version = str(self._json(self._ask("GET", "/api/version")).get("ray_version", ""))
        numbers = version.split(".")
        if not all(one.isdigit() for one in numbers[:2]) or tuple(map(int, numbers[:2])) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            raise _error("RayUnsupported", f"{self._url} is Ray {version or '?'}; {oldest} or newer is needed.")
        self._ask("GET", "/api/jobs/none-such", missing=True)  # here a wrong token is refused
        return version

    def python(self) -> str:
        """The version of the Python that its head runs in, as 3.11.9; empty where it does not say."""
        answer = self._ask("GET", "/api/v0/cluster_metadata", missing=True)
        data = {} if answer is None else self._json(answer).get("data") or {}
        return str(data.get("pythonVersion") or data.get("python_version") or "")

    def submit(self, id_: str, command: str, variables: Mapping[str, str]) -> None:
        """Run `command` as a Ray job on the head."""
        body = {"submission_id": id_, "entrypoint": command, "runtime_env": {"env_vars": dict(variables)}}
        self._ask("POST", "/api/jobs/", json=body)

    def job(self, id_: str) -> Job | None:
        answer = self._ask("GET", f"/api/jobs/{id_}", missing=True)
        if answer is None:
            return None
        found = self._json(answer)
        return Job(str(found.get("status")), str(found.get("message") or ""))

    def log(self, id_: str) -> str:
        answer = self._ask("GET", f"/api/jobs/{id_}/logs", missing=True)
        return "" if answer is None else str(self._json(answer).get("logs") or "")

    def delete(self, id_: str) -> None:
        """Forget a job that has ended."""
        self._ask("DELETE", f"/api/jobs/{id_}", missing=True)

    def actors(self, namespace: str) -> list[dict[str, Any]]:
        return self._listed("actors", "ray_namespace", namespace)

    def groups(self, state: str) -> list[dict[str, Any]]:
        """Placement groups: PENDING wait for room, CREATED have it; whose machine died is RESCHEDULING."""
        return self._listed("placement_groups", "state", state)

    def nodes(self) -> list[dict[str, Any]]:
        return self._listed("nodes", "state", "ALIVE")

    def _listed(self, what: str, key: str, value: str) -> list[dict[str, Any]]:
        query = {"filter_keys": key, "filter_predicates": "=", "filter_values": value, "detail": "1", "limit": "10000"}
        found = self._json(self._ask("GET", f"/api/v0/{what}", params=query))
        try:
            return list(found["data"]["result"]["result"])
        except (KeyError, TypeError) as error:
            raise self._unlike() from error

    def _ask(self, method: str, path: str, missing: bool = False, **more: Any) -> Any:
        """The answer; None where there is none such and that may be."""
        try:
            answer = self._send(method, path, **more)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise _error("RayUnreachable", f"Ray's dashboard at {self._url} cannot be reached: {why}.") from error
        if answer.status_code in (401, 403):
            why = f"Ray at {self._url} refuses: {answer.text.strip()[:200]}."
            raise _error("RayUnauthorized", f"{why} Its token (RAY_AUTH_MODE=token) is missing or wrong.")
        if missing and answer.status_code == 404:
            return None
        if answer.is_error:
            lines = answer.text.strip().splitlines() or ["nothing"]
            raise _error("RayFailed", f"Ray at {self._url} answered {answer.status_code}: {lines[-1][:300]}")
        return answer

    def _send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Raises httpx.HTTPError, also where the whole answer is late: httpx counts from piece to piece."""
        until, body = monotonic() + self._call_s, bytearray()
        with self._client.stream(method, path, **more) as answer:
            for piece in answer.iter_bytes():
                body += piece
                if monotonic() > until:
                    raise httpx.ReadTimeout(f"no whole answer within {self._call_s:g} s")
        return httpx.Response(answer.status_code, content=bytes(body))

    def _json(self, answer: Any) -> dict[str, Any]:
        try:
            return dict(answer.json())
        except (ValueError, TypeError) as error:
            raise self._unlike() from error

    def _unlike(self) -> ArmError:
        return _error("RayUnsupported", f"{self._url} does not answer as Ray's dashboard does.")


def _error(code: str, message: str) -> ArmError:
    return ArmError(502, code, message)
