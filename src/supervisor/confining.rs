//! What the keeper is told of a unit's confinement.

use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use crate::keeper::wire;
use crate::supervisor::lookup::Person;
use crate::unit::spec::UnitSpec;
use crate::unit::spec::confinement::{Capability, Confinement, Credential};

/// Where a run finds its credentials. It alone sees them there, so one place does for all.
pub(crate) const CREDENTIALS_DIR: &str = "/run/credentials/mcsup";

/// `None`: the process is started as ever.
pub(crate) fn order(spec: &UnitSpec, person: &Person, units_dir: &Path) -> Option<Box<wire::Confinement>> {
    let nothing = Confinement::default();
    let Confinement {
        bounds: _,
        umask,
        nice,
        no_new_privileges,
        capabilities,
        read_only,
        writable,
        private_tmp,
        cpu_affinity,
        credentials,
    } = spec.confinement.as_deref().unwrap_or(&nothing);
    let is_root = match &person.credentials {
        Some(credentials) => credentials.uid == 0,
        None => rustix::process::geteuid().is_root(),
    };
    let file = |Credential { name, path }: &Credential| {
        let path = units_dir.join(path.as_ref()).into_os_string().into_vec();
        (name.as_bytes().to_vec(), path)
    };
    let places = || writable.iter().map(|path| path.as_bytes().to_vec()).collect();
    let order = wire::Confinement {
        umask: *umask,
        nice: nice.map(i32::from),
        cpus: cpu_affinity.clone(),
        no_new_privileges: no_new_privileges.unwrap_or(!is_root),
        capabilities: capabilities.as_deref().map(mask),
        writable: read_only.then(places),
        private_tmp: *private_tmp,
        credentials: credentials.iter().map(file).collect(),
        credentials_dir: CREDENTIALS_DIR.as_bytes().to_vec(),
    };
    let is_nothing = order
        == wire::Confinement {
            credentials_dir: order.credentials_dir.clone(),
            ..wire::Confinement::default()
        };
    (!is_nothing).then(|| Box::new(order))
}

fn mask(capabilities: &[Capability]) -> u64 {
    let bit = |capability: &Capability| 1_u64.checked_shl(u32::from(capability.0)).unwrap_or(0);
    capabilities.iter().map(bit).fold(0, |mask, bit| mask | bit)
}
