//! The dependency graph: who needs whom, barriers, cycles, and how to draw them.
