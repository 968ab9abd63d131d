"""The sealed rows of the ledger and the reading of its log, which all services share."""
