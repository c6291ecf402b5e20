//! `mcsup init DIR` as process 1 of containers that offer less and less.
