//! Whom this machine trusts to vouch for others.

use rustls::RootCertStore;

/// What makes no sense is left out, as every other program of the machine has it. Reads hundreds of files: for a
/// thread.
pub fn of_machine() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let (_added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}
