"""The audit trail for other programs: CSV, and FHIR AuditEvent. They hold ids and codes only, no name and no text."""
