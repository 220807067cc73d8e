"""The scheduled scan: one tick that plans, scans, compacts, acts, reports and tells."""
