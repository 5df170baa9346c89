"""Tenants: who they are (``registry``), which of their engines run (``host``), how to reach one (``router``), and their replicas."""
