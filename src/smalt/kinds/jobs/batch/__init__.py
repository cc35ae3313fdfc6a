"""Batch endpoints: an address that makes a job of each request, as one of its deployments says.

endpoint     the address, and which deployment is its default
deployment   a model or a pipeline component, and how its jobs run
scoring      a model's deployment as a component: one parallel step, which writes `score`
asked        what a request to the address says
invocation   request and deployment → a pipeline job, submitted once
jobs         the jobs of an endpoint or a deployment, as its clients list them
"""
