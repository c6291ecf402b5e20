//! A group of processes that may use so much memory and no more, and the kernel that sees to it.

use std::fs;
use std::path::PathBuf;

/// Removed with the value; its processes have ended by then.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    dir: PathBuf,
    limit: &'static str,
}

impl MemoryGroup {
    /// Version 1 or 2 of control groups, whichever has the memory.
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("mcsup-{}-{test}", std::process::id());
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ];
        for (root, limit) in places {
            let dir = PathBuf::from(root).join(&name);
            if fs::create_dir(&dir).is_ok() {
                let group = Self { dir, limit };
                if group.dir.join(limit).exists() {
                    return group;
                }
            }
        }
        panic!("no memory controller that may be used: this test needs root, and cgroups with memory")
    }

    /// From now on this process, and what it starts, counts.
    pub(crate) fn add(&self, pid: u32) {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string()).expect("a process joins the group");
    }

    pub(crate) fn limit(&self, bytes: u64) {
        fs::write(self.dir.join(self.limit), bytes.to_string()).expect("a limit");
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // What is still in it (a test that failed) ends with its instance; an empty group costs nothing.
        drop(fs::remove_dir(&self.dir));
    }
}
