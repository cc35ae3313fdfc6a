"""Two servers killed in turn, at random moments, under jobs of all sorts: what has to hold in the end.

Jobs come through one server and the other; each writes into the store what it did, so that it is the jobs who count.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import requests

from live.platform import HOME, TERMINAL, Platform, eventually
from live.servers import Pair, Tally

QUICK, FAILS, CANCELED, SWEEP = "quick", "fails", "canceled", "sweep"
_SHARES = {QUICK: 6, FAILS: 2, CANCELED: 2, SWEEP: 1}
_ENDS = {QUICK: "Completed", FAILS: "Failed", CANCELED: "Canceled", SWEEP: "Completed"}
TRIALS = 3
_ONE_AT_A_TIME = 0.8  # else the other is killed before this one answers again
_LOGS_ITS_SCORE = (
    """curl -sSf --retry 60 --retry-all-errors --retry-delay 1 --cacert "$SSL_CERT_FILE" """
    """-H "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" -H 'Content-Type: application/json' """
    """"$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/log-metric" """
    """-d '{"run_id": "'"$MLFLOW_RUN_ID"'", "key": "score", "value": ${{search_space.x}}, "timestamp": 1, "step": 0}'"""
)


@dataclass
class Soak:
    """`seed` decides which jobs there are and when who is killed. `run` raises AssertionError where something broke."""

    pair: Pair
    seed: int
    jobs: int
    kill_s: float  # kills go on for so long, and until all jobs have been submitted
    patience_s: float = 240.0
    kills: int = 0
    kinds: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._submitted = threading.Event()

    def run(self) -> str:
        """One line of what was done."""
        begun = time.monotonic()
        weights = list(_SHARES.values())
        for number, kind in enumerate(self._random.choices(list(_SHARES), weights, k=self.jobs)):
            self.kinds[f"s{self.seed}-{number}"] = kind
        killer = threading.Thread(target=self._kill_in_turn, args=(random.Random(self.seed + 1), begun))
        killer.start()
        try:
            for number, (name, kind) in enumerate(self.kinds.items()):
                self._submit(self.pair.both[number % 2], name, kind)
        finally:
            self._submitted.set()
            killer.join()
        self.pair.wait_until_both_answer()
        for name, kind in self.kinds.items():
            self._has_ended(name, kind)
        self._nothing_is_left()
        took = time.monotonic() - begun
        return (
            f"seed {self.seed}: {self.jobs} jobs, {self.kills} kills, {took:.0f} s, all ended once and as they should"
        )

    def _kill_in_turn(self, chance: random.Random, begun: float) -> None:
        """Until both have been killed, too."""
        turn = first = chance.randrange(2)
        while not self._submitted.is_set() or time.monotonic() - begun < self.kill_s or turn - first < 2:
            time.sleep(chance.uniform(0.3, 3.0))  # the moment is what is tried
            victim = self.pair.both[turn % 2]
            with contextlib.suppress(AssertionError, ProcessLookupError):  # it is not up again yet
                before = victim.kill("server")
                self.kills += 1
                victim.restarted("server", before)
                if chance.random() < _ONE_AT_A_TIME:
                    victim.wait_until_it_answers(60)
            turn += 1

    def _submit(self, through: Platform, name: str, kind: str) -> None:
        document = self._document(name, kind)
        self._send(through, "PUT", f"jobs/{name}", {"properties": document}, (200, 201))
        if kind == CANCELED:
            self._send(self.pair.other(through), "POST", f"jobs/{name}/cancel", None, (200, 202))

    def _send(self, through: Platform, method: str, path: str, body: Any, good: tuple[int, ...]) -> requests.Response:
        """Again while a server is away, as clients do: what was answered has happened."""

        def answered() -> requests.Response | None:
            try:
                answer = through.call(method, path, body, timeout_s=20)
            except (requests.RequestException, AssertionError):
                return None
            return None if answer.status_code in (502, 503, 504) else answer

        answer = eventually(answered, f"{method} {path}", 120, 0.2)
        assert answer.status_code in good, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def _document(self, name: str, kind: str) -> dict[str, Any]:
        tally = Tally(self.pair, name)
        environment = f"{HOME}/environments/plain/versions/1"
        if kind == SWEEP:
            note = "echo $AZUREML_RUN_ID >> $AZURE_ML_OUTPUT_tally/ran"
            return {
                "jobType": "Sweep", "searchSpace": {"x": ["uniform", [0, 1]]}, "outputs": tally.output,
                "trial": {"command": f"{note}; {_LOGS_ITS_SCORE}", "environmentId": environment},
                "samplingAlgorithm": {"samplingAlgorithmType": "Random", "seed": self.seed},
                "objective": {"goal": "maximize", "primaryMetric": "score"},
                "limits": {"jobLimitsType": "Sweep", "maxTotalTrials": TRIALS, "maxConcurrentTrials": 2},
            }  # fmt: skip
        between = {QUICK: f"sleep {self._random.uniform(0, 1.5):.2f}", FAILS: "true", CANCELED: tally.held}[kind]
        command = tally.command(between) + (" && exit 3" if kind == FAILS else "")
        return {"jobType": "Command", "command": command, "environmentId": environment, "outputs": tally.output}

    def _has_ended(self, name: str, kind: str) -> None:
        there = self._random.choice(self.pair.both)
        eventually(lambda: there.job(name)["status"] in TERMINAL, f"the end of {name} ({kind})", self.patience_s, 0.2)
        state, lines = there.job(name)["status"], Tally(self.pair, name).lines
        said = f"{name} ({kind}) is {state} and did {lines}: {there.job_error(name)}"
        assert state == _ENDS[kind], said
        if kind == CANCELED:
            assert lines in ([], ["began"]), said
        elif kind == SWEEP:
            assert sorted(lines) == [f"{name}_{number}" for number in range(TRIALS)], said
        else:
            assert lines == ["began", "ended"], said

    def _nothing_is_left(self) -> None:
        """No node is leased, nobody waits for one, no step is under way, no task lies about."""
        for what, query in _LEFT.items():
            eventually(lambda query=query: not self.pair.rows(query), f"no {what}: {self.pair.rows(query)}", 60, 0.2)
        for one in self.pair.both:
            eventually(lambda one=one: not list(one.root.glob("tasks/job-*")), f"no task of a job on {one.root}", 60)


_JOBS = "kind = 'workspaces/jobs'"
_LEFT = {
    "node that somebody has": "SELECT compute_id, node, owner FROM allocation WHERE owner IS NOT NULL",
    "job in a queue": "SELECT owner FROM queue",
    "job with a lease": f"SELECT id, lease FROM resource WHERE {_JOBS} AND lease IS NOT NULL",
    "job that is due": f"SELECT id, state, due_at FROM resource WHERE {_JOBS} AND due_at IS NOT NULL",
    "job with a home": f"SELECT id, home FROM resource WHERE {_JOBS} AND home IS NOT NULL",
}
