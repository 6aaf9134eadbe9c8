"""What Alembic runs: the revisions, in the one transaction that `upgrading` has begun."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
