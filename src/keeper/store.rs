//! Descriptors that outlive a run: the sockets that it is passed, and what it stored here itself.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Descriptors that one unit may store, as much as systemd's examples set FileDescriptorStoreMax to.
const MOST_STORED: usize = 128;

#[derive(Debug, Default)]
pub(super) struct Store {
    /// By the key that the supervisor gave.
    listening: BTreeMap<String, Arc<OwnedFd>>,
    /// By unit, each oldest first.
    stored: BTreeMap<String, Vec<Stored>>,
}

#[derive(Debug)]
struct Stored {
    name: String,
    descriptor: Arc<OwnedFd>,
}

impl Store {
    /// What was held under the key before is closed.
    pub(super) fn hold(&mut self, key: String, socket: OwnedFd) {
        self.listening.insert(key, Arc::new(socket));
    }

    pub(super) fn let_go(&mut self, key: &str) {
        self.listening.remove(key);
    }

    pub(super) fn listening(&self, key: &str) -> Option<Arc<OwnedFd>> {
        self.listening.get(key).cloned()
    }

    pub(super) fn all_listening(&self) -> impl Iterator<Item = (&String, &Arc<OwnedFd>)> {
        self.listening.iter()
    }

    /// Those beyond what a unit may store are closed.
    pub(super) fn store(&mut self, unit: &str, name: &str, descriptors: Vec<OwnedFd>) {
        let stored = self.stored.entry(unit.to_owned()).or_default();
        let room = MOST_STORED.saturating_sub(stored.len());
        for descriptor in descriptors.into_iter().take(room) {
            stored.push(Stored { name: name.to_owned(), descriptor: Arc::new(descriptor) });
        }
    }

    pub(super) fn remove(&mut self, unit: &str, name: &str) {
        if let Some(stored) = self.stored.get_mut(unit) {
            stored.retain(|one| one.name != name);
        }
    }

    /// What it stored is its own under its new name too. What one of that name left here is nobody's.
    pub(super) fn rename(&mut self, unit: &str, name: &str) {
        self.stored.remove(name);
        if let Some(own) = self.stored.remove(unit) {
            self.stored.insert(name.to_owned(), own);
        }
    }

    pub(super) fn forget(&mut self, unit: &str) {
        self.stored.remove(unit);
    }

    /// Of all units, each oldest first.
    pub(super) fn all_stored(&self) -> impl Iterator<Item = (&str, &str, &Arc<OwnedFd>)> {
        self.stored.iter().flat_map(|(unit, all)| {
            all.iter().map(move |stored| (unit.as_str(), stored.name.as_str(), &stored.descriptor))
        })
    }

    /// With their names, oldest first.
    pub(super) fn stored(&self, unit: &str) -> impl Iterator<Item = (&str, &Arc<OwnedFd>)> {
        let all = self.stored.get(unit).into_iter().flatten();
        all.map(|stored| (stored.name.as_str(), &stored.descriptor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| rustix::pipe::pipe().unwrap().0).collect()
    }

    #[test]
    fn a_unit_stores_so_much_and_takes_nothing_from_others() {
        let mut store = Store::default();
        store.store("web", "a", some(100));
        store.store("web", "b", some(100));
        store.store("db", "a", some(1));
        assert_eq!(store.stored("web").count(), MOST_STORED);
        assert_eq!(store.stored("web").filter(|(name, _)| *name == "b").count(), 28);
        store.remove("web", "a");
        assert_eq!(store.stored("web").count(), 28);
        store.forget("web");
        assert_eq!((store.stored("web").count(), store.stored("db").count()), (0, 1));
    }
}
