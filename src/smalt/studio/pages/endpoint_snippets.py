"""How to ask an endpoint from elsewhere: text to copy, without any key in it."""

from __future__ import annotations

from smalt.store.document import Document

_TOKEN = "az account get-access-token --resource https://ml.azure.com --query accessToken -o tsv"
BODY = '{"input_data": []}'  # ask.js puts an example of the model's there, where it has one


def snippets(endpoint: Document) -> list[tuple[str, str, str]]:
    """Id, title and text of each. The key comes from a variable: one that stands in a script is soon in git."""
    uri, name = endpoint["uri"], endpoint["name"]
    how = {
        "Key": f"az ml online-endpoint get-credentials -n {name} --query primaryKey -o tsv",
        "AMLToken": f"az ml online-endpoint get-credentials -n {name} --query accessToken -o tsv",
    }
    get_key = how.get(endpoint["auth"], _TOKEN)
    curl = (
        f"KEY=$({get_key})\n"
        f"curl --cacert ca.pem '{uri}' \\\n"
        f"  -H \"Authorization: Bearer $KEY\" -H 'Content-Type: application/json' \\\n"
        f"  -d '{BODY}'"
    )
    python = (
        "import json, os, requests\n\n"
        f"# KEY: {get_key}\n"
        f'answer = requests.post(\n    "{uri}",\n'
        '    headers={"Authorization": f"Bearer {os.environ[\'KEY\']}"},\n'
        f"    json={BODY},\n"
        '    verify="ca.pem",\n)\nanswer.raise_for_status()\nprint(answer.json())'
    )
    script = (
        f"// KEY: {get_key}; with NODE_EXTRA_CA_CERTS=ca.pem\n"
        f'const answer = await fetch("{uri}", {{\n  method: "POST",\n'
        '  headers: { Authorization: `Bearer ${process.env.KEY}`, "Content-Type": "application/json" },\n'
        f"  body: JSON.stringify({BODY}),\n}});\n"
        "console.log(answer.status, await answer.json());"
    )
    return [("curl", "curl", curl), ("python", "Python", python), ("javascript", "JavaScript", script)]
