"""Things by key: keys → nar → tree → manifest → workshop → store, to be read in this order."""
