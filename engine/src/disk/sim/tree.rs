//! The simulation's directories: the names as every process sees them, and the names that would survive a power cut.
//!
//! A change of names is durable only after a sync of a directory it touches. It knows nodes by number and nothing of what is in
//! the files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use rustix::io::Errno;

use super::prng::Prng;
use crate::disk::DirEntry;

/// The number of `/`.
pub(super) const ROOT: u64 = 1;

#[derive(Debug)]
pub(super) struct Tree {
    dirs: BTreeMap<u64, Dir>,
    /// Changes that are not durable yet, oldest first.
    journal: Vec<Change>,
}

#[derive(Debug, Default)]
struct Dir {
    current: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
}

/// One change that survives a crash as a whole or not at all.
#[derive(Debug)]
struct Change {
    edits: Vec<Edit>,
}

/// A name's new meaning; `None` when it goes.
#[derive(Clone, Debug)]
struct Edit {
    dir: u64,
    name: String,
    node: Option<u64>,
}

/// A place for a name: it may or may not be taken.
#[derive(Clone, Debug)]
pub(super) struct Place {
    dir: u64,
    name: String,
}

impl Tree {
    pub(super) fn new() -> Tree {
        Tree { dirs: BTreeMap::from([(ROOT, Dir::default())]), journal: Vec::new() }
    }

    pub(super) fn is_dir(&self, node: u64) -> bool {
        self.dirs.contains_key(&node)
    }

    pub(super) fn lookup(&self, path: &Path) -> Result<u64, Errno> {
        let mut node = ROOT;
        for component in path.components() {
            let name = match component {
                Component::RootDir | Component::CurDir => continue,
                Component::Normal(name) => name.to_str().ok_or(Errno::ILSEQ)?,
                Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL),
            };
            // The rest of the real system's checks is the caller's: this one keeps both alike.
            if name.contains('\0') {
                return Err(Errno::INVAL);
            }
            let dir = self.dirs.get(&node).ok_or(Errno::NOTDIR)?;
            node = *dir.current.get(name).ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }

    /// Where `path` would be; its directory must exist.
    pub(super) fn place(&self, path: &Path) -> Result<Place, Errno> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)?.to_owned();
        if name.contains('\0') {
            return Err(Errno::INVAL);
        }
        let dir = self.lookup(path.parent().unwrap_or(Path::new("/")))?;
        if self.is_dir(dir) { Ok(Place { dir, name }) } else { Err(Errno::NOTDIR) }
    }

    /// What stands at a place.
    pub(super) fn at(&self, place: &Place) -> Option<u64> {
        self.dirs[&place.dir].current.get(&place.name).copied()
    }

    pub(super) fn list(&self, path: &Path) -> Result<Vec<DirEntry>, Errno> {
        let dir = self.dirs.get(&self.lookup(path)?).ok_or(Errno::NOTDIR)?;
        let entry = |(name, node): (&String, &u64)| DirEntry { name: name.clone(), is_dir: self.is_dir(*node) };
        Ok(dir.current.iter().map(entry).collect())
    }

    pub(super) fn list_durable(&self, path: &Path) -> Result<Vec<String>, Errno> {
        let dir = self.dirs.get(&self.lookup(path)?).ok_or(Errno::NOTDIR)?;
        Ok(dir.durable.keys().cloned().collect())
    }

    pub(super) fn create_file(&mut self, place: Place, node: u64) {
        self.change(vec![Edit { dir: place.dir, name: place.name, node: Some(node) }]);
    }

    pub(super) fn create_dir(&mut self, place: Place, node: u64) -> Result<(), Errno> {
        if self.at(&place).is_some() {
            return Err(Errno::EXIST);
        }
        self.dirs.insert(node, Dir::default());
        self.change(vec![Edit { dir: place.dir, name: place.name, node: Some(node) }]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> Result<(), Errno> {
        if self.is_dir(self.lookup(path)?) {
            return Err(Errno::ISDIR);
        }
        let place = self.place(path)?;
        self.change(vec![Edit { dir: place.dir, name: place.name, node: None }]);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> Result<(), Errno> {
        let dir = self.dirs.get(&self.lookup(path)?).ok_or(Errno::NOTDIR)?;
        if !dir.current.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let place = self.place(path)?;
        self.change(vec![Edit { dir: place.dir, name: place.name, node: None }]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), Errno> {
        let node = self.lookup(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        match self.at(&to) {
            Some(replaced) if replaced == node => return Ok(()),
            Some(replaced) => match (self.is_dir(node), self.dirs.get(&replaced)) {
                (false, Some(_)) => return Err(Errno::ISDIR),
                (true, None) => return Err(Errno::NOTDIR),
                (true, Some(dir)) if !dir.current.is_empty() => return Err(Errno::NOTEMPTY),
                _ => {}
            },
            None => {}
        }
        self.change(vec![
            Edit { dir: from.dir, name: from.name, node: None },
            Edit { dir: to.dir, name: to.name, node: Some(node) },
        ]);
        Ok(())
    }

    fn change(&mut self, edits: Vec<Edit>) {
        for edit in &edits {
            let dir = self.dirs.get_mut(&edit.dir).expect("a place's directory exists");
            apply(&mut dir.current, edit);
        }
        self.journal.push(Change { edits });
    }

    /// A sync of a directory makes the changes that touch it durable; and those before them that touch what these touch, so that
    /// names never go back to an older meaning. Other directories stay as they were: POSIX promises no more.
    pub(super) fn make_durable(&mut self, dir: u64) {
        let mut touched = BTreeSet::from([dir]);
        let mut chosen = vec![false; self.journal.len()];
        for (place, change) in self.journal.iter().enumerate().rev() {
            if change.edits.iter().any(|edit| touched.contains(&edit.dir)) {
                chosen[place] = true;
                touched.extend(change.edits.iter().map(|edit| edit.dir));
            }
        }
        let mut chosen = chosen.into_iter();
        self.settle(|_| chosen.next().expect("one choice per change"));
    }

    /// The power goes: chance decides up to where each directory's changes had reached the device. Returns nothing; what is no
    /// longer named is for [`reachable`](Self::reachable) to tell.
    pub(super) fn lose_power(&mut self, prng: &mut Prng) {
        let kept = [0.0, 0.7, 1.0][prng.below_usize(3)];
        let mut lost = BTreeSet::new();
        self.settle(|change| {
            let survives = !change.edits.iter().any(|edit| lost.contains(&edit.dir)) && prng.chance(kept);
            if !survives {
                lost.extend(change.edits.iter().map(|edit| edit.dir));
            }
            survives
        });
        self.journal.clear();
        for dir in self.dirs.values_mut() {
            dir.current.clone_from(&dir.durable);
        }
        let reachable = self.reachable();
        self.dirs.retain(|node, _| reachable.contains(node));
    }

    /// Makes those changes durable that `choose` picks, asked in their order, and keeps the others waiting.
    fn settle(&mut self, mut choose: impl FnMut(&Change) -> bool) {
        for change in std::mem::take(&mut self.journal) {
            if !choose(&change) {
                self.journal.push(change);
                continue;
            }
            for edit in &change.edits {
                if let Some(dir) = self.dirs.get_mut(&edit.dir) {
                    apply(&mut dir.durable, edit);
                }
            }
        }
    }

    /// Every node that has a name, would have one after a crash, or might.
    pub(super) fn reachable(&self) -> BTreeSet<u64> {
        let mut found = BTreeSet::from([ROOT]);
        let mut open = vec![ROOT];
        let in_journal = self.journal.iter().flat_map(|change| &change.edits).filter_map(|edit| edit.node);
        open.extend(in_journal.filter(|node| found.insert(*node)));
        while let Some(node) = open.pop() {
            let Some(dir) = self.dirs.get(&node) else { continue };
            open.extend(dir.current.values().chain(dir.durable.values()).filter(|node| found.insert(**node)));
        }
        found
    }

    /// Every node that has a name now: what takes up space.
    pub(super) fn named(&self) -> BTreeSet<u64> {
        self.dirs.values().flat_map(|dir| dir.current.values().copied()).collect()
    }

    /// Forgets removed directories that nothing can bring back.
    pub(super) fn forget_dirs_except(&mut self, kept: &BTreeSet<u64>) {
        self.dirs.retain(|node, _| kept.contains(node));
    }
}

fn apply(names: &mut BTreeMap<String, u64>, edit: &Edit) {
    match edit.node {
        Some(node) => names.insert(edit.name.clone(), node),
        None => names.remove(&edit.name),
    };
}
