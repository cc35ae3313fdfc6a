"""Batch endpoints whose deployments run a pipeline component."""

from __future__ import annotations

from typing import Any

from fakes.batch import ENDPOINT, INPUT, V1, error_of
from fakes.jobs import JOBS, cluster
from fakes.pipelines import component, data, job_of, node, run_to_the_end, submit
from fakes.platform import WORKSPACE, Harness


class TestPipelines:
    def made(self, harness: Harness, **settings: Any) -> Any:
        harness.put(ENDPOINT, {"properties": {}})
        component(harness, "step")
        jobs = {
            "one": {
                "type": "command",
                "componentId": f"{WORKSPACE}/components/step/versions/1",
                "inputs": {
                    "data": {"job_input_type": "literal", "value": "${{parent.inputs.raw}}"},
                    "rate": {"job_input_type": "literal", "value": "${{parent.inputs.rate}}"},
                },
                "outputs": {"made": {"type": "literal", "value": "${{parent.outputs.scores}}"}},
            }
        }
        inputs = {"raw": {"type": "uri_folder"}, "rate": {"type": "number", "default": "0.5"}}
        component(
            harness, "flow", type="pipeline", jobs=jobs, inputs=inputs, outputs={"scores": {"type": "uri_folder"}}
        )
        configuration = {
            "deploymentConfigurationType": "PipelineComponent",
            "settings": settings,
            "componentId": {"referenceType": "Id", "assetId": f"{WORKSPACE}/components/flow/versions/1"},
        }
        return harness.put(V1, {"properties": {"deploymentConfiguration": configuration}})

    def call(self, harness: Harness, **more: Any) -> Any:
        body = {"properties": {"inputData": {"raw": INPUT["UriFolder"]}, **more}}
        return harness.send("POST", f"{ENDPOINT}/jobs", body, azureml_model_deployment="v1")

    def test_inputs_and_outputs_have_the_components_names(self, harness: Harness) -> None:
        assert self.made(harness, default_compute=cluster(harness)).status_code == 201
        inputs = {"raw": INPUT["UriFolder"], "rate": {"jobInputType": "Literal", "value": 0.25}}
        outputs = {"scores": {"jobOutputType": "UriFolder", "mode": "upload"}}
        name = self.call(harness, inputData=inputs, outputData=outputs).json()["name"]
        assert run_to_the_end(harness) == ["one"]
        job = harness.get(f"{JOBS}/{name}").json()["properties"]
        assert job["outputs"]["scores"]["mode"] == "Upload", "clients read no other spelling"
        assert job["status"] == "Completed" and job["tags"]["azureml.jobtype"] == "azureml.pipelinejob"
        step = harness.get(f"{JOBS}/{job_of(harness, 'one', name)}").json()["properties"]
        assert step["inputs"]["rate"]["value"] == "0.25"
        assert step["outputs"]["made"]["uri"] == job["outputs"]["scores"]["uri"]

    def test_what_is_wrong(self, harness: Harness) -> None:
        self.made(harness)
        assert error_of(self.call(harness, inputData={}))[:2] == (400, "properties.inputData.raw")
        wrong = {"scores": {"jobOutputType": "UriFolder"}, "other": {"jobOutputType": "UriFolder"}}
        assert error_of(self.call(harness, outputData=wrong))[:2] == (400, "properties.outputData.other")
        unknown = {"raw": INPUT["UriFolder"], "rat": {"jobInputType": "Literal", "value": 0.25}}
        status, target, message = error_of(self.call(harness, inputData=unknown))
        assert (status, target) == (400, "properties.inputData.rat") and "Did you mean 'rate'" in message
        assert error_of(self.call(harness, miniBatchSize=3))[0] == 400

    def test_a_component_of_a_job(self, harness: Harness) -> None:
        """As the SDK makes it of `job_definition`."""
        harness.put(ENDPOINT, {"properties": {}})
        component(harness, "step")
        bound = {"data": "${{parent.inputs.raw}}", "rate": "${{parent.inputs.rate}}"}
        jobs = {"one": node("azureml:step:1", outputs={"made": "${{parent.outputs.scores}}"}, **bound)}
        given = {"raw": data(), "rate": {"jobInputType": "literal", "value": "0.5"}}
        submit(harness, jobs, "tried", inputs=given, outputs={"scores": {"jobOutputType": "uri_folder"}})
        flow = component(harness, "flow", type="pipeline", sourceJobId="tried", inputs={}, outputs={})
        configuration = {"componentId": {"assetId": flow}}
        assert harness.put(V1, {"properties": {"deploymentConfiguration": configuration}}).status_code == 201
        name = self.call(harness).json()["name"]
        assert harness.get(f"{JOBS}/{name}").json()["properties"]["inputs"]["rate"]["value"] == "0.5"
        spec = {"type": "pipeline", "sourceJobId": "gone"}
        answer = harness.put(f"{WORKSPACE}/components/x/versions/1", {"properties": {"componentSpec": spec}})
        assert error_of(answer)[:2] == (400, "properties.componentSpec.sourceJobId")

    def test_a_component_that_is_none_and_a_compute_that_is_not_there(self, harness: Harness) -> None:
        status, target, _ = error_of(self.made(harness, default_compute="gone"))
        assert (status, target) == (400, "properties.deploymentConfiguration.settings.default_compute")
        reference = {"assetId": f"{WORKSPACE}/components/step/versions/1"}
        answer = harness.put(V1, {"properties": {"deploymentConfiguration": {"componentId": reference}}})
        assert error_of(answer)[:2] == (400, "properties.deploymentConfiguration.componentId")
