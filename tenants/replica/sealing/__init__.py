"""Objects that nobody reads who has only the bucket: sealed under keys of the tenant's, which are wrapped with the master key.

``stream`` is the sealed form, ``key_file`` what lies in the bucket, ``tenant_keys`` the requests about it; ``tenant_sealing``
and ``control_sealing`` put them together. Losing ``ENGRAM_MASTER_KEY`` loses everything that is sealed.
"""

from tenants.replica.sealing.control_sealing import ControlSealing
from tenants.replica.sealing.failures import KeysDestroyed, KeyUnavailable, Tampered
from tenants.replica.sealing.master import Master
from tenants.replica.sealing.tenant_sealing import TenantSealing

__all__ = ["ControlSealing", "KeyUnavailable", "KeysDestroyed", "Master", "Tampered", "TenantSealing"]
