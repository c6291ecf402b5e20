//! Reading the log files that the keeper writes.
