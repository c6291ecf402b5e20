//! The control API: HTTP/1.1 and JSON over the unix socket.
