"""Who offers what `policies.backend` asks for."""
