"""The pages of endpoints: traffic and scale are changed by forms, and who was overtaken by somebody else is told."""

from __future__ import annotations

import re
from html import unescape

import pytest

from fakes.deployments import ENDPOINT, KEY, come_up, deploy, traffic
from fakes.examples import prepare
from fakes.studio import HERE, StudioSite, form_token
from smalt.studio.pages.new_endpoint import wish_of

PAGE = f"/studio/endpoints/{ENDPOINT.rpartition('/')[2]}"


@pytest.fixture
def served(site: StudioSite) -> StudioSite:
    prepare(site.harness, KEY)
    for name in ("blue", "green"):
        deploy(site.harness, name)
        come_up(site.harness)
    traffic(site.harness, blue=100)
    return site


def etags(page: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'name="etag" value="([^"]+)"', page)]


def shares(site: StudioSite, field: str = "traffic") -> dict[str, int]:
    return site.harness.get(ENDPOINT).json()["properties"][field]


def test_traffic_and_mirrored_traffic_are_sent_as_the_form_says(served: StudioSite) -> None:
    page = served.open(PAGE, {**HERE, "tab": "traffic"}).text
    fields = {"etag": etags(page)[0], "traffic.blue": "60", "traffic.green": "40", "mirror.green": "0"}
    assert served.send_form(f"{PAGE}/traffic", form_token(page), fields).status_code == 303
    assert shares(served) == {"blue": 60, "green": 40} and not shares(served, "mirrorTraffic")
    page = served.open(PAGE, {**HERE, "tab": "traffic"}).text
    assert 'name="traffic.green" value="40"' in page


def test_the_second_of_two_editors_is_told(served: StudioSite) -> None:
    page = served.open(PAGE, {**HERE, "tab": "traffic"}).text
    token, etag = form_token(page), etags(page)[0]
    first = {"etag": etag, "traffic.green": "100"}
    assert served.send_form(f"{PAGE}/traffic", token, first).status_code == 303
    second = served.send_form(f"{PAGE}/traffic", token, {"etag": etag, "traffic.blue": "100"})
    assert second.status_code == 412 and "Somebody changed it" in second.text
    assert shares(served) == {"green": 100}


def test_a_script_that_sends_a_form_is_told_in_words(served: StudioSite) -> None:
    token = form_token(served.open(PAGE, {**HERE, "tab": "traffic"}).text)
    as_script = {"smalt-form": "1"}
    refused = served.send_form(f"{PAGE}/traffic", token, {"traffic.blue": "70"}, as_script)
    assert (
        refused.status_code == 200 and refused.json()["status"] == 400 and "add up to 70" in refused.json()["message"]
    )
    number = served.send_form(f"{PAGE}/traffic", token, {"traffic.blue": "many"}, as_script).json()
    assert number["code"] == "InvalidNumber" and shares(served) == {"blue": 100}
    done = served.send_form(f"{PAGE}/traffic", token, {"traffic.green": "100"}, as_script).json()
    assert done["to"].startswith(PAGE) and shares(served) == {"green": 100}
    assert served.send_form(f"{PAGE}/traffic", "", {}, as_script).json()["status"] == 403


def test_a_deployment_is_scaled_by_hand_and_by_itself(served: StudioSite) -> None:
    path = f"{PAGE}/deployments/green/scale"
    token = form_token(served.open(PAGE, {**HERE, "tab": "traffic"}).text)
    assert served.send_form(path, token, {"scale": "", "instances": "2"}).status_code == 303
    deployment = f"{ENDPOINT}/deployments/green"
    assert served.harness.get(deployment).json()["sku"]["capacity"] == 2
    auto = {"scale": "auto", "least": "0", "most": "4", "target": "50"}
    assert served.send_form(path, token, auto).status_code == 303
    settings = served.harness.get(deployment).json()["properties"]["scaleSettings"]
    assert (settings["scaleType"], settings["minInstances"], settings["maxInstances"]) == ("TargetUtilization", 0, 4)
    assert served.send_form(path, token, {"scale": "", "instances": "1"}).status_code == 303
    assert served.harness.get(deployment).json()["properties"]["scaleSettings"]["scaleType"] == "Default"
    assert served.send_form(path, token, {"scale": "", "instances": "99"}).status_code == 400


def test_what_is_deleted_and_rolled_back_is_asked_of_the_platform(served: StudioSite) -> None:
    token = form_token(served.open(PAGE, {**HERE, "tab": "traffic"}).text)
    refused = served.send_form(f"{PAGE}/deployments/blue/delete", token)
    assert refused.status_code == 409 and "traffic" in refused.text
    served.harness.clock.pass_(60)
    traffic(served.harness, green=100)
    undone = re.search(r'name="undone" value="([^"]+)"', served.open(PAGE).text)
    assert undone
    fields = {"undone": undone[1]}
    assert served.send_form(f"{PAGE}/rollback", token, fields).status_code == 303 and shares(served) == {"blue": 100}
    second = served.send_form(f"{PAGE}/rollback", token, fields)
    assert second.status_code == 409, "a colleague at the same alert undoes nothing more"
    assert shares(served) == {"blue": 100}
    assert served.send_form(f"{PAGE}/deployments/green/delete", token).status_code == 303
    assert served.harness.get(f"{ENDPOINT}/deployments/green").json()["properties"]["provisioningState"] == "Deleting"
    assert served.send_form(f"{PAGE}/delete", token).headers["location"].startswith("/studio/endpoints?")


def test_no_key_is_in_a_page(served: StudioSite) -> None:
    keys = served.harness.send("POST", f"{ENDPOINT}/listKeys", {}).json()
    for tab in ("", "traffic", "test", "alerts"):
        page = served.open(PAGE, {**HERE, "tab": tab})
        assert page.status_code == 200 and not any(key in page.text for key in keys.values())
    token = form_token(served.open(PAGE, {**HERE, "tab": "test"}).text)
    assert served.send_form(f"{PAGE}/keys", token, {"keyType": "Primary"}).status_code == 303
    renewed = served.harness.send("POST", f"{ENDPOINT}/listKeys", {}).json()
    assert renewed["primaryKey"] != keys["primaryKey"] and renewed["secondaryKey"] == keys["secondaryKey"]
    assert served.send_form(f"{PAGE}/keys", token, {"keyType": "Other"}).status_code == 400


def test_more_than_a_page_of_deployments_is_paged(served: StudioSite) -> None:
    for number in range(50):
        deploy(served.harness, f"more-{number}")
    first = served.open(PAGE).text
    link = re.search(r'<a href="([^"]+)" rel="next">Older deployments', first)
    assert link
    second = served.open(unescape(link[1]), {}).text
    rows = [re.findall(r'<th scope="row">([\w-]+)<td><span class="status"', page) for page in (first, second)]
    assert len(rows[0]) == 50 and len(rows[1]) == 2 and len({*rows[0], *rows[1]}) == 52
    on_second = served.open(f"{unescape(link[1])}&tab=traffic", {}).text
    assert 'name="traffic.blue" value="100"' in on_second, "what takes traffic is always in the form"


def test_only_what_a_session_has_asked_for_is_sent_when_a_deployment_is_up(served: StudioSite) -> None:
    page = f"{PAGE}/deploying/green"
    forged = served.open(page, {**HERE, "traffic": "all"})
    assert "data-when-shown" not in forged.text and "Send all traffic to it" in forged.text
    token, asked = form_token(forged.text), served.harness.get(ENDPOINT).json()
    wish = wish_of(token, asked, "green")
    assert "data-when-shown" in served.open(page, {**HERE, "traffic": wish}).text
    assert "data-when-shown" not in served.open(f"{PAGE}/deploying/blue", {**HERE, "traffic": wish}).text
    traffic(served.harness, blue=90, green=10)
    shown = served.open(page, {**HERE, "traffic": wish}).text
    assert "data-when-shown" not in shown, "somebody has set the traffic since"
    fields = {"etag": etags(shown)[0]}
    traffic(served.harness, blue=80, green=20)
    assert served.send_form(page, token, fields).status_code == 412 and shares(served) == {"blue": 80, "green": 20}
    fields = {"etag": etags(served.open(page).text)[0]}
    assert served.send_form(page, token, fields).status_code == 303 and shares(served) == {"green": 100}


def test_the_way_back_is_told_or_is_none(served: StudioSite) -> None:
    traffic(served.harness, blue=90, green=10)
    assert "traffic: blue 90 green 10 → blue 100." in served.open(PAGE).text
    page = served.open(PAGE, {**HERE, "tab": "traffic"}).text
    assert re.search(r'disabled title="No earlier[^>]*>Roll back green<', page)
    traffic(served.harness, blue=100)
    served.harness.send("DELETE", f"{ENDPOINT}/deployments/green")
    served.harness.settle()
    page = served.open(PAGE).text
    assert re.search(r'disabled title="[^"]*no deployment &#39;green&#39;[^>]*>Roll back<', page)


def test_the_form_to_deploy_proposes_what_is_not_taken_and_moves_no_traffic_of_an_endpoint(served: StudioSite) -> None:
    name = ENDPOINT.rpartition("/")[2]
    for asked in ({"model": f"{name}:2"}, {"endpoint": name}):
        page = served.open("/studio/endpoints/new", {**HERE, **asked}).text
        assert f'name="endpoint" value="{name}"' in page and 'name="deployment" value="orange"' in page
        assert 'name="traffic" value="all">' in page
    page = served.open("/studio/endpoints/new", {**HERE, "model": "another:1"}).text
    assert 'name="deployment" value="blue"' in page and 'name="traffic" value="all" checked>' in page


def test_who_is_asked_where_nobody_takes_traffic(site: StudioSite) -> None:
    prepare(site.harness, KEY)
    deploy(site.harness)
    come_up(site.harness)
    page = site.open(PAGE, {**HERE, "tab": "test"}).text
    assert "<option selected data-state=" in page and "data-traffic" not in page
    assert 'data-body="{&#34;input_data&#34;: []}" data-language="curl"' in page
    traffic(site.harness, blue=100)
    page = site.open(PAGE, {**HERE, "tab": "test"}).text
    assert "<option selected" not in page and ">blue</option>" in page and "data-traffic" in page
    deploy(site.harness, "green")
    traffic(site.harness)
    assert "<option selected" not in site.open(PAGE, {**HERE, "tab": "test"}).text
