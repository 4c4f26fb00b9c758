"""Kubernetes, as far as the operator needs it: a thin client, and what its objects say."""
