"""Reports: notes, tables and the review page, made from a record."""
