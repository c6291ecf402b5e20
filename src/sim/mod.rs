//! A virtual host for the engine: time, processes and faults from a seed.
