"""An alert on an endpoint, somebody's webhook that hears of it, and a clock: for the tests of alerts."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fakes.examples import EXAMPLES, prepare
from fakes.platform import Harness
from smalt.kinds.insights.watch import Watch
from smalt.metrics.names import LATENCY, REQUESTS
from smalt.metrics.recorder import Recorder

ALERT = EXAMPLES["microsoft.insights/metricalerts"].url
ACTIONS = EXAMPLES["microsoft.insights/actiongroups"].url
ENDPOINT = EXAMPLES["workspaces/onlineendpoints"].url
BLUE = f"{ENDPOINT}/deployments/blue"


class Receiver:
    """Somebody's webhook. `answers`: the statuses that it gives, the last again and again."""

    def __init__(self) -> None:
        self.answers = [200]
        self.heard: list[Any] = []
        self.keys: set[str] = set()
        self.meanwhile: list[Callable[[], Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.keys.add(self.headers["idempotency-key"])
                outer.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                while outer.meanwhile:
                    outer.meanwhile.pop()()
                self.send_response(outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0])
                self.send_header("location", f"http://localhost:{outer.port}/elsewhere")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def uri(self) -> str:
        return f"http://localhost:{self.port}/hook?code=secret"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Site:
    def __init__(self, root: Any, hook: Receiver, **properties: Any) -> None:
        hook.heard, hook.answers, hook.keys = [], [200], set()
        self.harness = Harness(root, webhook_hosts=f"localhost:{hook.port}")
        self.recorder = Recorder(self.harness.clock)
        prepare(self.harness, "workspaces/onlineendpoints/deployments")
        self.harness.put(BLUE, EXAMPLES["workspaces/onlineendpoints/deployments"].body())
        receivers = [{"name": "ops", "serviceUri": hook.uri, "useCommonAlertSchema": True}]
        group = {"groupShortName": "ops", "webhookReceivers": receivers}
        answer = self.harness.put(ACTIONS, {"location": "Global", "properties": group})
        assert answer.status_code == 201, answer.text
        answer = self.harness.put(ALERT, EXAMPLES["microsoft.insights/metricalerts"].body(**properties))
        assert answer.status_code == 200, answer.text
        self.restart()

    def restart(self) -> None:
        self.watch = Watch(self.harness.platform)
        self.harness.platform.hub.follow(self.watch.changed)

    def answer(self, ms: float, after_s: float = 10.0, count: int = 20) -> None:
        self.harness.clock.pass_(after_s)
        for _ in range(count):
            self.recorder.record(BLUE, LATENCY.name, ms, spread=True)
            self.recorder.record(BLUE, REQUESTS.name, 1, {"statusCode": "200", "statusCodeClass": "2xx"})
        self.look()

    def look(self) -> None:
        self.recorder.flush(self.harness.database)
        self.watch.look()
        self.harness.settle()

    @property
    def calm_since(self) -> Any:
        return self.harness.row(ALERT).status.get("calm_since")

    @property
    def state(self) -> str:
        return str(self.harness.get(ALERT).json()["properties"]["alertState"]["monitorCondition"])
