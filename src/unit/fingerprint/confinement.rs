//! The number of what the processes of a unit may use and do.

use crate::unit::fingerprint::Hash;
use crate::unit::spec::confinement::{Bounds, Confinement, Credential};

impl Hash {
    /// Nothing is counted for who says nothing: the number is then what it was before there were such keys.
    pub(super) fn confinement(&mut self, confinement: Option<&Confinement>) {
        self.confinement_at_start(confinement);
        let bounds = confinement.map(|confinement| confinement.bounds);
        if let Some(bounds) = bounds.filter(|bounds| *bounds != Bounds::default()) {
            let Bounds { memory_bytes, cpu_permille, tasks, is_required } = bounds;
            self.text("bounds");
            self.optional_number(memory_bytes);
            self.optional_number(cpu_permille.map(u64::from));
            self.optional_number(tasks);
            self.number(is_required);
        }
    }

    /// What a process is started with; its cgroup can be bounded otherwise at any time.
    pub(super) fn confinement_at_start(&mut self, confinement: Option<&Confinement>) {
        let Some(confinement) =
            confinement.filter(|own| **own != Confinement { bounds: own.bounds, ..Confinement::default() })
        else {
            return;
        };
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
        } = confinement;
        self.text("confinement");
        self.optional_number(umask.map(u64::from));
        self.optional_number(nice.map(|nice| u64::from(nice.cast_unsigned())));
        self.optional_number(no_new_privileges.map(u64::from));
        self.number(capabilities.is_some());
        for capability in capabilities.iter().flatten() {
            self.text(capability.name());
        }
        self.flags(&[*read_only, *private_tmp]);
        self.texts(writable);
        self.number(cpu_affinity.len());
        cpu_affinity.iter().for_each(|cpu| self.number(*cpu));
        self.number(credentials.len());
        for Credential { name, path } in credentials {
            self.text(name);
            self.text(path);
        }
    }
}
