//! One execution of a probe: a request in, one verdict out.
