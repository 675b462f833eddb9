"""Steps from one database schema of the service to the next, one file each, read by Alembic in order."""
