//! Where an instance and its servers find room of their own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// Ports that nobody listens at, as many as asked for.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// A home, not under the build directory, that any user may enter.
pub(crate) fn public_home(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("mcsup-{}-{name}", std::process::id()));
    drop(fs::remove_dir_all(&dir));
    fs::create_dir_all(dir.join("units")).expect("a home");
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).expect("permissions");
    dir
}
