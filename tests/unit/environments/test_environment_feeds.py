"""Which index addresses a feed opens, and how the credentials stand in them."""

from __future__ import annotations

import pytest

from smalt.arm.ports import Feed, Login
from smalt.environments.uv.feeds import matched, with_logins


@pytest.mark.parametrize(
    ("target", "address", "opens"),
    [
        ("https://feed.example", "https://feed.example/org/simple/", True),
        ("https://feed.example/org", "https://feed.example/org/simple/", True),
        ("https://feed.example/org/simple/", "https://feed.example/org/simple", True),
        ("https://FEED.example:443/org", "https://feed.example/org/simple", True),
        ("https://me@feed.example/org", "https://other@feed.example/org/simple", True),
        ("https://feed.example/org", "https://feed.example/organisation/simple", False),
        ("https://feed.example/org", "https://feed.example/org/../other/simple", False),
        ("https://feed.example/org", "https://feed.example/org/%2e%2e/other/simple", False),
        ("https://feed.example", "http://feed.example/simple", False),
        ("https://feed.example", "https://feed.example.evil/simple", False),
        ("https://feed.example", "https://feed.example@evil.example/simple", False),
        ("https://feed.example", "https://feed.example:8443/simple", False),
        ("https://feed.example", "https://me:mine@feed.example/simple", False),
        ("https://feed.example", "https://[broken/simple", False),
        ("https://feed.example", "${INDEX}/simple", False),
    ],
)
def test_a_feed_opens_what_is_at_and_below_its_target(target: str, address: str, opens: bool) -> None:
    found = matched([f"--extra-index-url {address}"], [Feed(target, "/c")])
    assert found == ({address: "/c"} if opens else {})


def test_the_longest_target_wins_and_other_options_have_no_address() -> None:
    feeds = [
        Feed("https://f.example", "/wide"),
        Feed("https://f.example/a", "/narrow"),
        Feed("https://f.example/b", "/b"),
    ]
    options = ["--index-url https://f.example/a/simple", "--trusted-host https://f.example", "--pre"]
    assert matched(options, feeds) == {"https://f.example/a/simple": "/narrow"}


@pytest.mark.parametrize("given", ["p@ss/w:rd", "p%40ss%2Fw%3Ard"])
def test_credentials_stand_in_the_address_encoded_once(given: str) -> None:
    options = ["--index-url https://me@f.example:81/simple?x=1", "--pre", "--extra-index-url https://g.example/simple"]
    assert with_logins(options, {"https://me@f.example:81/simple?x=1": Login("ü", given)}) == [
        "--index-url https://%C3%BC:p%40ss%2Fw%3Ard@f.example:81/simple?x=1",
        *options[1:],
    ]
