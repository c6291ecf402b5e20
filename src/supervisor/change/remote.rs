//! File systems that are changed from elsewhere, of which this kernel hears nothing.

use std::path::Path;

/// What it is called, if it is one.
pub(crate) fn kind(path: &Path) -> Option<&'static str> {
    let found = rustix::fs::statfs(path).ok()?;
    // Wider than the number itself on most machines, and signed.
    let number = u32::try_from(found.f_type & 0xffff_ffff).ok()?;
    KINDS.iter().find(|(kind, _)| *kind == number).map(|(_, name)| *name)
}

/// Numbers of statfs(2) and of the kernel's sources. FUSE and 9p may be local; nobody can tell.
const KINDS: [(u32, &str); 15] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x6573_5546, "FUSE"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x786f_4256, "shared folder"),
];
