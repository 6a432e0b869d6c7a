"""Pure columns in, columns out: what becomes of a record on its way to an entry."""
