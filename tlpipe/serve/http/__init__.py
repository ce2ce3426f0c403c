"""The HTTP server: requests, responses, authentication, OpenAPI, metrics, TLS and signals."""
