"""Databases may have a name.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("databases", sa.Column("name", sa.String(100)))


def downgrade() -> None:
    op.drop_column("databases", "name")
