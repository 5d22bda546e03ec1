"""Papers in which every number is a link to a result: drafted, criticised, audited, compiled and reviewed."""
