"""The one TLS port, through Envoy: desired configuration from endpoints, written as files that Envoy watches."""
