"""Which node may write a tenant's history: node leases, owners, fences, and what a tenant's own disk is worth. Blocking."""
