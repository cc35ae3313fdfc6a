"""Online endpoints, their deployments and replicas, and the gateway's routes to them."""
