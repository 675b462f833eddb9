"""The service in a hospital network: DICOM in, results out, a worklist, accounts, and an audit trail of all of it."""

from resight.serving.audit_trail import Head, append, verify_trail
from resight.serving.settings import ServiceSettings, load_service_settings
from resight.serving.store import Store

__all__ = ["Head", "ServiceSettings", "Store", "append", "load_service_settings", "verify_trail"]
