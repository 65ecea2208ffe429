"""Who issues epochs: one row transaction in a database, asked over the bus."""

from fairlead_cloud.authority.service import AuthorityService

__all__ = ["AuthorityService"]
