"""Tenants: who they are (``registry``), which engines run (``host``), how to reach one (``router``), their replicas."""
