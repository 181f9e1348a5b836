"""A reference platform: takes what gateways send, stores it exactly once, says so in receipts.  README.md beside it."""
