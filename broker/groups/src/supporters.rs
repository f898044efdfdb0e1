//! How many members of a group know each protocol: a join asks whether all do, and would look at every member's list otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::request::OfferedProtocol;

/// By a protocol's name. It holds what the lists of all members say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Supporters(BTreeMap<Arc<str>, usize>);

impl Supporters {
    /// A member has this list now. A name that is in it twice counts once.
    pub(crate) fn add(&mut self, protocols: &[OfferedProtocol]) {
        for name in protocols.iter().map(|each| &each.name).collect::<BTreeSet<_>>() {
            *self.0.entry(Arc::clone(name)).or_default() += 1;
        }
    }

    /// A member no longer has this list.
    pub(crate) fn remove(&mut self, protocols: &[OfferedProtocol]) {
        for name in protocols.iter().map(|each| &each.name).collect::<BTreeSet<_>>() {
            let count = self.0.get_mut(name).expect("it was counted when the member came");
            *count -= 1;
            if *count == 0 {
                self.0.remove(name);
            }
        }
    }

    /// How many members know it.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.0.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_member_tells_twice_counts_once() {
        let list = ["a", "b", "a"].map(|name| OfferedProtocol { name: name.into(), metadata: bytes::Bytes::new() });
        let mut supporters = Supporters::default();
        supporters.add(&list);
        supporters.add(&list[..1]);
        assert_eq!((supporters.count("a"), supporters.count("b")), (2, 1));
        supporters.remove(&list);
        supporters.remove(&list[..1]);
        assert_eq!(supporters, Supporters::default());
    }
}
