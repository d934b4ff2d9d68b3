"""Who offers what `policies.backend` asks for: transformers models, the embedded one, a server."""
