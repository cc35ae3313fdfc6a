"""Who may use an account is remembered for a moment, and forgotten when what it stands for ends."""

from __future__ import annotations

from smalt.arm.ports import Principal
from smalt.auth.living import FRESH_S
from smalt.blob.names import Target
from smalt.principals import RecentPermits

WORKSPACE = "/subscriptions/s/resourcegroups/g/providers/microsoft.machinelearningservices/workspaces/w"
JOB = Principal("o", "job:Train-1", "job", "t", scope=WORKSPACE)
REPLICA = Principal("r", "endpoint:scores", "endpoint", "t", scope=WORKSPACE)
OWNER = Principal("a", "ada", "owner", "t")
TARGET = Target("acct", "c", "b")


class Asked:
    def __init__(self) -> None:
        self.now, self.answer, self.times = 0.0, True, 0
        self.recent = RecentPermits(self.permits, clock=lambda: self.now)

    def permits(self, principal: Principal, target: Target, method: str) -> bool:
        self.times += 1
        return self.answer

    def ask(self, principal: Principal, method: str = "GET") -> bool:
        """As the blob path asks."""
        known = self.recent.recent(principal, TARGET, method)
        return self.recent(principal, TARGET, method) if known is None else known


def test_the_second_question_of_a_moment_is_not_asked() -> None:
    asked = Asked()
    assert [asked.ask(JOB), asked.ask(JOB, "HEAD"), asked.times] == [True, True, 1]
    assert asked.ask(JOB, "PUT") and asked.times == 2
    asked.answer, asked.now = False, 0.9 * FRESH_S
    assert asked.ask(JOB)
    asked.now = FRESH_S
    assert not asked.ask(JOB)


def test_what_ends_is_forgotten_at_once_and_nothing_else() -> None:
    asked = Asked()
    for key, forgotten in (
        (f"{WORKSPACE}/jobs/train-1", {JOB}),
        (f"{WORKSPACE}/jobs/train-2", set()),
        (f"{WORKSPACE}/onlineendpoints/scores/deployments/blue", {REPLICA}),
        (WORKSPACE, {JOB, REPLICA}),
        ("/smalt/gateways/g", set()),
    ):
        assert all(asked.ask(one) for one in (JOB, REPLICA, OWNER))
        asked.recent.ended(key)
        assert {one for one in (JOB, REPLICA, OWNER) if asked.recent.recent(one, TARGET, "GET") is None} == forgotten, (
            key
        )


def test_what_ends_while_it_is_asked_is_not_remembered() -> None:
    asked = Asked()

    def permits(principal: Principal, target: Target, method: str) -> bool:
        recent.ended(f"{WORKSPACE}/jobs/train-1")
        return True

    recent = RecentPermits(permits, clock=lambda: asked.now)
    assert recent(JOB, TARGET, "GET") and recent.recent(JOB, TARGET, "GET") is None
